"""Changes to many tables in one step of a migration."""

from django.db.migrations.operations import (
    AddConstraint,
    AddField,
    AddIndex,
    AlterField,
    AlterModelOptions,
    CreateModel,
    RemoveConstraint,
    RemoveField,
    RemoveIndex,
)
from django.db.migrations.operations.base import Operation, OperationCategory
from django.db.migrations.state import ProjectState

# All of them read what they change from the state before or the state after, and nothing between.
ALLOWED = (
    AddConstraint, AddField, AddIndex, AlterField, AlterModelOptions, CreateModel, RemoveConstraint, RemoveField,
    RemoveIndex,
)  # fmt: skip


class Together(Operation):
    """The same statements in the same order, with the models rendered once and not again for each of them.

    Nearly every model here refers to the account, so each operation by itself renders nearly all models anew: that was
    four fifths of the time a first migration took. No operation may build on one before it in the same step: a table
    is made whole, and a field is added, altered or removed once. Raises ValueError otherwise.
    """

    category = OperationCategory.MIXED

    def __init__(self, *operations: Operation) -> None:
        self.operations = operations
        made, touched = set(), set()
        for operation in operations:
            if not isinstance(operation, ALLOWED):
                raise ValueError(f"{operation.describe()}: not an operation that can be done together with others.")
            if isinstance(operation, CreateModel):
                made.add(operation.name_lower)
                continue
            model = getattr(operation, "model_name_lower", None) or getattr(operation, "model_name", "")
            model = (model or operation.name).lower()
            if model in made:
                raise ValueError(f"{operation.describe()}: {model} is made in the same step; make it whole there.")
            if isinstance(operation, AddField | AlterField | RemoveField):
                field = (model, operation.name_lower)
                if field in touched:
                    raise ValueError(f"{operation.describe()}: that field is changed in the same step already.")
                touched.add(field)

    def deconstruct(self) -> tuple[str, list, dict]:
        return self.__class__.__qualname__, list(self.operations), {}

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        # Without rendered models a change to the state costs next to nothing; who asks for them next has them made.
        state.__dict__.pop("apps", None)
        for operation in self.operations:
            operation.state_forwards(app_label, state)

    def database_forwards(self, app_label, schema_editor, from_state, to_state) -> None:
        for operation in self.operations:
            operation.database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label, schema_editor, from_state, to_state) -> None:
        for operation in reversed(self.operations):
            operation.database_backwards(app_label, schema_editor, from_state, to_state)

    def references_model(self, name: str, app_label: str) -> bool:
        return any(operation.references_model(name, app_label) for operation in self.operations)

    def describe(self) -> str:
        return "; ".join(operation.describe() for operation in self.operations)

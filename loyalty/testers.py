"""Test shoppers of rehearsals are outside every figure: the condition that leaves them out, said once."""


def not_test(column: str, account: str = "%(account)s") -> str:
    """A condition for SQL: `column` names no test shopper of the account. Read once a statement; there are few."""
    return (
        f"{column} <> ALL (ARRAY(SELECT test.id FROM loyalty_persona test "
        f"WHERE test.account_id = {account} AND test.is_test))"
    )


NOT_TEST = not_test("persona_id")

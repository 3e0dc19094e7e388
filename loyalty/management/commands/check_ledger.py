from django.core.management.base import BaseCommand

from loyalty import audits


class Command(BaseCommand):
    help = "Check that balances, entries, lots, redemptions and sales agree. Exit code 1 when they do not."
    requires_system_checks: list[str] = []

    def handle(self, *args, **options) -> None:
        found = audits.violations()
        for violation in found:
            examples = "; ".join(violation.examples)
            self.stdout.write(
                f"{violation.rule.name}: {violation.count} where {violation.rule.promise} does not hold: {examples}"
            )
        total = sum(violation.count for violation in found)
        self.stdout.write(f"{total} violations")
        if total:
            raise SystemExit(1)

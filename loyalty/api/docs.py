"""The schema, and a page that lists the calls from it: no script, nothing from another host."""

from django.http import HttpRequest, HttpResponse
from django.template import Context, Engine
from django.views import View
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.views import SpectacularAPIView
from rest_framework.permissions import AllowAny

from .schema import CODES

_PAGE = Engine().from_string("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>API</title><style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1b2a26 }
h2 { margin: 2rem 0 .5rem; text-transform: capitalize }
code { background: #eef4f1; padding: .1rem .3rem; border-radius: 4px }
th { text-align: left; vertical-align: top; padding-right: 1rem } dt { margin-top: 1rem } dd { margin: .2rem 0 0 }
@media (prefers-color-scheme: dark) {
  body { background: #10201b; color: #dcebe5 } code { background: #1d332c } a { color: #83d2b3 } }
</style></head><body>
<h1>API</h1>
<p>Each call carries <code>X-APIKEY</code>. Answers are <code>{"data", "code", "success"}</code>, refusals
<code>{"errors": [{"message"}], "code", "success": false}</code>. <a href="../schema/">OpenAPI document</a></p>
<table>{% for code, when in codes.items %}<tr><th><code>{{ code }}</code></th><td>{{ when }}</td></tr>
{% endfor %}</table>
{% for tag, calls in groups.items %}<h2>{{ tag }}</h2><dl>
{% for call in calls %}<dt><code>{{ call.method }} {{ call.path }}</code>
{% if call.deprecated %}<em>older form</em>{% endif %}</dt>
<dd>{{ call.summary }}.{% if call.description %} {{ call.description }}{% endif %}</dd>
{% endfor %}</dl>{% endfor %}
</body></html>
""")


class Schema(SpectacularAPIView):
    """Open: it says what the vendor's own public documentation says."""

    authentication_classes = ()
    permission_classes = (AllowAny,)


class Docs(View):
    def get(self, request: HttpRequest) -> HttpResponse:
        schema = SchemaGenerator().get_schema(request=None, public=True)
        groups: dict[str, list[dict[str, str]]] = {}
        for path, methods in schema["paths"].items():
            for method, call in methods.items():
                groups.setdefault(call["tags"][0], []).append(
                    {
                        "method": method.upper(),
                        "path": path,
                        "deprecated": call.get("deprecated", False),
                        "summary": call.get("summary", ""),
                        "description": call.get("description", ""),
                    }
                )
        return HttpResponse(_PAGE.render(Context({"groups": groups, "codes": CODES})))

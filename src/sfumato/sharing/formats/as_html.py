"""One page for a person: the verdict first, no request to anywhere, light and dark, readable on a telephone."""

from __future__ import annotations

from jinja2 import Environment

from sfumato.core.outside import printable
from sfumato.sharing.finding import Report
from sfumato.sharing.words import headline, size, sure

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{ headline }}</title><style>
:root { color-scheme: light dark; --line: #8886; --high: #b3261e; --medium: #8a5300; --low: #4a5a6a; }
@media (prefers-color-scheme: dark) { :root { --high: #ffb4ab; --medium: #ffb951; --low: #b3c4d6; } }
body { font: 1rem/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem; overflow-wrap: anywhere; }
.verdict { border: 2px solid; border-radius: .5rem; padding: .75rem 1rem; font-size: 1.2rem; }
.bad { color: var(--high); } article { border-top: 1px solid var(--line); padding: .75rem 0; }
h2 { font-size: 1.1rem; margin-top: 2rem; } h3 { font-size: 1rem; margin: 0; } p { margin: .25rem 0; }
.level { font-weight: 700; text-transform: uppercase; font-size: .85rem; }
.high { color: var(--high); } .medium { color: var(--medium); } .low, .note { color: var(--low); }
code { font-family: ui-monospace, monospace; font-size: .9rem; } ul { padding-left: 1.2rem; margin: .25rem 0; }
pre { margin: .25rem 0; padding: .5rem .75rem; white-space: pre-wrap; background: #8882; border-radius: .25rem; } a { color: inherit; }
@media (max-width: 30rem) { h1 { font-size: 1.5rem; } }
</style></head><body><main>
<h1>What this gives away</h1>
<p class="verdict {{ 'bad' if report.exit_code }}" role="status">{{ headline }}</p>
{% if fixes %}<p>Next:</p>{% for fix in fixes %}<pre><code>{{ fix }}</code></pre>{% endfor %}{% endif %}
{% if report.untested %}<p>Not tested: {{ report.untested|length }} questions, <a href="#untested">named below</a>.</p>{% endif %}
<ul>{% for path, said in report.audited.items() %}<li><code>{{ path }}</code>: {{ said }}</li>{% endfor %}
<li>{{ report.files }} file{{ 's' if report.files != 1 }}, {{ size(report.bytes) }}</li></ul>
<h2>Found</h2>
{% for one in report.findings %}<article><h3><span class="level {{ one.level }}">{{ one.level }}</span>
{{ one.reveals }}</h3><p><code>{{ one.path }}</code>{% if one.place %}, {{ one.place }}{% endif %} ({{ sure(one) }}
{%- if one.count > 1 %}, {{ one.count }} of them{% endif %})</p>
{% if one.examples %}<ul>{% for text in one.examples %}<li>{{ text }}</li>{% endfor %}</ul>{% endif %}
{% if one.ignored %}<p>Passes: {{ one.ignored }}</p>{% endif %}
{% if one.fix and one.fix not in fixes %}<p>Fix: <code>{{ one.fix }}</code></p>{% endif %}</article>
{% else %}<p>Nothing.</p>{% endfor %}
<h2 id="untested">Not tested</h2><p>What stands here is open. It is not clean.</p>
<ul>{% for one in report.untested %}<li>{{ one.what }}: {{ one.why }}
{%- if one.how %}. To test it: <code>{{ one.how }}</code>{% endif %}</li>{% else %}<li>Nothing.</li>{% endfor %}</ul>
</main></body></html>
"""
FIXES = 5  # beside the verdict; a fix that is not there stands with its finding


def write(report: Report) -> str:
    """The page, whole."""
    page = Environment(autoescape=True).from_string(_PAGE)
    fixes = list(dict.fromkeys(one.fix for one in report.failing if one.fix))[:FIXES]
    return printable(page.render(report=report, headline=headline(report), sure=sure, size=size, fixes=fixes)) + "\n"

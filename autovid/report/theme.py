"""How a report looks: one style sheet, for light and for dark, for a phone and for a desk."""

from autovid.report.markup import COLOURS, rules

_PAGE = """
*{box-sizing:border-box}html{scroll-behavior:smooth;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);
  font:16px/1.55 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}
header,main,footer{max-width:1120px;margin:0 auto;padding:0 16px}
header{padding-top:28px}h1{font-size:1.7rem;line-height:1.2;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:1.3rem;margin:44px 0 10px;padding-top:12px;border-top:1px solid var(--line)}
h3{font-size:1.02rem;margin:26px 0 8px;overflow-wrap:anywhere}h4{font-size:.9rem;margin:0 0 6px}
b,span{unicode-bidi:isolate}
p{margin:8px 0;max-width:75ch;overflow-wrap:anywhere}.mute,footer{color:var(--mute);font-size:.87rem}
nav{display:flex;flex-wrap:wrap;gap:8px;margin:16px 0 4px}
nav a{padding:4px 12px;border:1px solid var(--line);border-radius:99px;
  color:var(--ink);text-decoration:none;font-size:.9rem}
nav a:hover,nav a:focus{border-color:var(--a);color:var(--a)}
.lead{font-size:1.1rem}.note{border-left:3px solid var(--b);padding-left:10px}
.grid{display:grid;gap:20px;grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr))}
.grid>*{min-width:0}.charts{grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr))}
figure+figure{margin-top:16px}.grid>figure+figure{margin-top:0}
figure{margin:0;max-width:520px}figcaption{font-size:.92rem;font-weight:600;margin-bottom:4px;overflow-wrap:anywhere}
svg.av{width:100%;height:auto;display:block}
.drawing{max-width:500px}.drawing svg{border:1px solid var(--line);border-radius:8px}
.legend{display:flex;flex-wrap:wrap;gap:2px 14px;font-size:.82rem;color:var(--mute);overflow-wrap:anywhere}
.legend i{display:inline-block;width:10px;height:10px;border-radius:2px;margin-right:5px}
.legend i.dot,.legend i.ring{border-radius:50%}
.legend i.star{width:14px;height:14px;border-radius:0;margin:0 4px -2px 0;
  clip-path:polygon(50% 0,62% 35%,98% 35%,69% 57%,79% 91%,50% 70%,21% 91%,31% 57%,2% 35%,38% 35%)}
.legend i.ring,.legend i.diamond{background:none;border-width:2px;border-style:solid}
.legend i.diamond{transform:rotate(45deg);border-radius:0}
.scroll{overflow-x:auto;background:
  linear-gradient(90deg,var(--paper) 30%,transparent) 0 0/36px 100% no-repeat local,
  linear-gradient(270deg,var(--paper) 30%,transparent) 100% 0/36px 100% no-repeat local,
  linear-gradient(90deg,var(--shade),transparent) 0 0/14px 100% no-repeat scroll,
  linear-gradient(270deg,var(--shade),transparent) 100% 0/14px 100% no-repeat scroll}
table{border-collapse:collapse;font-size:.9rem}
th,td{text-align:left;padding:5px 14px 5px 0;border-bottom:1px solid var(--line);vertical-align:top}
td{font-variant-numeric:tabular-nums}th{font-weight:600}
th,td{min-width:5em;max-width:24em;overflow-wrap:break-word}th:first-child{white-space:nowrap}
.command{white-space:pre-wrap;overflow-wrap:anywhere}.command span{display:inline-block;max-width:100%}
@media not (any-hover:hover){.pointer{display:none}}
pre{background:var(--card);padding:10px 12px;border-radius:6px;overflow-x:auto;
  font-size:.8rem;line-height:1.4;margin:8px 0}
summary{cursor:pointer;color:var(--mute)}
.cards{display:grid;gap:12px;align-items:start;
  grid-template-columns:repeat(auto-fill,minmax(min(100%,330px),1fr));margin:10px 0}
.card{border:1px solid var(--line);border-radius:8px;padding:10px 12px;min-width:0}
.decisions{display:grid;grid-template-columns:repeat(3,minmax(0,1fr));gap:6px 10px}
.decisions .row{grid-column:1/-1;font-size:.76rem;color:var(--mute);margin-top:4px}
.decision{min-width:0;font-size:.74rem;line-height:1.3;overflow-wrap:anywhere}.decision b{font-weight:600}
.decision svg{max-width:150px}.chances span{display:inline-block}
.against{color:var(--b)}.against b{font-weight:400}.decision .mute{font-size:inherit}
.bars{list-style:none;padding:0;margin:0;font-size:.82rem}
.bars li{display:grid;grid-template-columns:minmax(0,11em) 1fr 3.2em;gap:8px;align-items:center;line-height:1.5}
.bars .name{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.bars b{font-weight:400;text-align:right;font-variant-numeric:tabular-nums}
.track{background:var(--card);border-radius:3px;height:11px;display:block}
.track i{display:block;height:100%;border-radius:3px}
.confusions{display:grid;gap:12px;
  grid-template-columns:repeat(auto-fill,minmax(min(100%,260px),1fr));padding:0;list-style:none}
.confusions li{display:flex;gap:12px;font-size:.87rem;min-width:0;overflow-wrap:anywhere}
.confusions img{width:84px;height:84px;border-radius:6px;flex:none}
.strip{border-radius:6px;display:block}
"""


def style_sheet() -> str:
    """All of it."""
    light, dark = ("".join(f"--{name}:{values[which]};" for name, values in COLOURS.items()) for which in (0, 1))
    swatches = "".join(f".bar-{name}{{background:var(--{name});border-color:var(--{name})}}" for name in COLOURS)
    themes = f":root{{color-scheme:light dark;{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}"
    return themes + _PAGE + swatches + rules()

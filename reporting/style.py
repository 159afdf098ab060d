"""The look of our pages: system fonts, light and dark, narrow and wide, and on paper. No file, no font, no network."""

STYLE = """
:root{color-scheme:light dark;--paper:#f6f6f3;--card:#fff;--ink:#1c2330;--soft:#586173;--rule:#dfe2e7;--win:#3f72b8;
--all:#c9d5e6;--drift:#a8480a;--drift-paper:#fdf0e4;--fine:#27704a;--link:#2459a0}
@media(prefers-color-scheme:dark){:root{--paper:#13161b;--card:#1b1f26;--ink:#e6e9ee;--soft:#9ca6b5;--rule:#2d333d;
--win:#5b92dc;--all:#35445a;--drift:#f2a65e;--drift-paper:#2c231a;--fine:#74c79b;--link:#8db8f2}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Noto Sans",sans-serif;font-variant-numeric:tabular-nums;-webkit-text-size-adjust:100%}
main,.foot{max-width:1080px;margin:0 auto;padding:0 20px}
header{max-width:1080px;margin:0 auto;padding:36px 20px 18px}
.over{font-size:13px;letter-spacing:.04em;color:var(--soft);margin:0 0 6px}
h1{font-size:30px;line-height:1.2;margin:0 0 6px;font-weight:650;letter-spacing:-.01em}
h2{font-size:19px;margin:0 0 14px;font-weight:650}
h3{font-size:15px;margin:0;font-weight:600;overflow-wrap:anywhere}
p{margin:0 0 10px}a{color:var(--link);text-underline-offset:2px}
.sub{color:var(--soft);margin:0}code,.mono{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
section{background:var(--card);border:1px solid var(--rule);border-radius:10px;padding:20px;margin:0 0 16px}
.state{border-left:5px solid var(--soft)}
.state.fine{border-left-color:var(--fine)}
.state.drift{border-left-color:var(--drift);background:var(--drift-paper)}
.state strong{font-size:19px;display:block}.state p{margin:2px 0 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:0 0 16px}
.tile{background:var(--card);border:1px solid var(--rule);border-radius:10px;padding:14px 16px;min-width:0}
.tile b{display:block;font-size:24px;line-height:1.25;font-weight:650;overflow-wrap:anywhere}
.tile span{font-size:13px;color:var(--soft);display:block}
ul.plain{margin:0 0 10px;padding-left:20px}ul.plain li{margin:3px 0}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(400px,100%),1fr));gap:24px}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(300px,100%),1fr));gap:16px}
.card{border:1px solid var(--rule);border-radius:8px;padding:14px;break-inside:avoid;min-width:0}
.card p{font-size:13px;color:var(--soft);margin:2px 0 8px}
.note{font-size:13px;color:var(--soft)}.note:last-child{margin-bottom:0}
svg{display:block}svg.chart{width:100%;height:auto;overflow:visible}svg.spark{width:96px;height:22px}
svg text{font-size:11.5px;fill:var(--soft)}.win,.all,.beyond,svg.spark path{shape-rendering:crispEdges}
.win{fill:var(--win)}.all{fill:var(--all)}.ref{fill:none;stroke:var(--ink);stroke-width:1.3;stroke-linejoin:round}
.spark .ref{stroke-width:1}.beyond{fill:var(--drift)}.axis{stroke:var(--soft);stroke-width:1}
.mark{stroke:var(--ink);stroke-width:1.2;stroke-dasharray:4 3}
.key{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:13px;color:var(--soft);margin:0 0 12px}
.key i{display:inline-block;width:18px;height:11px;margin-right:6px;vertical-align:-1px}
.key .kb{background:var(--drift)}.key .kw{background:var(--win)}
.key .ka{background:var(--all)}.key .kr{border:1.4px solid var(--ink)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:14px}
th{text-align:left;font-weight:600;color:var(--soft);font-size:13px;padding:6px 12px 6px 0;
border-bottom:1px solid var(--rule);vertical-align:bottom}
td{padding:7px 12px 7px 0;border-bottom:1px solid var(--rule);vertical-align:middle}
tr:last-child td{border-bottom:0}td.n,th.n{text-align:right;white-space:nowrap}
td small,th small{display:block;color:var(--soft);font-size:12.5px;font-weight:400}td.name{overflow-wrap:break-word}
.tag{white-space:nowrap}.tag.drift,.bad{color:var(--drift);font-weight:650}.tag.fine{color:var(--fine)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 18px;margin:0;font-size:14px}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
.foot{padding:8px 20px 48px}
.find{display:flex;flex-wrap:wrap;gap:10px 14px;margin:0 0 14px}
.find label{font-size:13px;color:var(--soft);display:grid;gap:3px;flex:1 1 150px}
input,select{font:inherit;font-size:15px;padding:7px 9px;border:1px solid var(--rule);border-radius:6px;width:100%;
background:var(--paper);color:var(--ink)}
:focus-visible{outline:2px solid var(--link);outline-offset:1px}
@media(max-width:900px){td,th{padding-right:8px}td{font-size:13.5px}}
@media(max-width:640px){header{padding-top:24px}h1{font-size:25px}section{padding:16px}
table.stack,table.stack tbody,table.stack tr{display:block}table.stack thead{display:none}
table.stack tr{border-bottom:1px solid var(--rule);padding:10px 0;display:grid;
grid-template-columns:repeat(2,minmax(0,1fr));gap:2px 14px}
table.stack td{border:0;padding:0;text-align:left;white-space:normal}
table.stack td.name{grid-column:1/-1;font-weight:600}
table.stack td small{display:inline;margin-left:5px}table.stack td.name small{display:block;margin:0}
table.stack td.name small{font-weight:400}table.stack td.zero{display:none}
table.stack td[data-k]::before{content:attr(data-k) " ";color:var(--soft);font-size:12.5px}
td.n small{white-space:normal}svg.wide text{font-size:16px}.tag{white-space:normal}
dl{grid-template-columns:1fr}dd{margin:0 0 8px}}
@media print{:root{--paper:#fff;--card:#fff;--ink:#000;--soft:#444;--rule:#bbb;--win:#3f72b8;--all:#c9d5e6;
--drift:#8a3a06;--drift-paper:#fff;--fine:#1c5636;--link:#000}body{font-size:11pt}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}section,.tile{border-color:#bbb}tr{break-inside:avoid}
.find,.screen{display:none}td.name small{display:none}td{padding:4px 8px 4px 0}header{padding-top:0}}
"""

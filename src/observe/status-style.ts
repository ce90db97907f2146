/** Style and script of the status page, and the policy that lets a browser run exactly these and load nothing else. */
import { createHash } from 'node:crypto'

export const STYLE = `
:root{color-scheme:light dark;--page:#f4f6f8;--card:#fff;--line:#dfe4ea;--text:#18212b;--soft:#566472;--accent:#0b6b62;
--good:#146c33;--good-back:#e2f4e8;--bad:#a61b1b;--bad-back:#fce8e8;--warn:#8a4b00;--warn-back:#fdf0da;--plain-back:#e9edf1}
@media (prefers-color-scheme:dark){:root{--page:#10161c;--card:#182029;--line:#2b3744;--text:#e6ebf0;--soft:#9fb0bf;
--accent:#4fd1c1;--good:#7ee2a0;--good-back:#123722;--bad:#ff9c9c;--bad-back:#451c1c;--warn:#ffc972;--warn-back:#40300f;
--plain-back:#25303b}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--text);font:15px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
header,main,footer{max-width:1240px;margin:0 auto;padding:0 16px}
header{display:flex;flex-wrap:wrap;align-items:center;gap:8px 14px;padding-top:18px}
header svg{width:30px;height:30px;color:var(--accent);flex:none}
h1{font-size:20px;margin:0;flex:1 1 0;min-width:0}h1 .tag{vertical-align:2px;margin-left:4px}h1 small{display:block;font-weight:400;font-size:13px;color:var(--soft)}
header label{margin-left:auto;color:var(--soft);font-size:14px;padding:8px 0}
h2{font-size:15px;margin:0;padding:12px 16px;border-bottom:1px solid var(--line)}
h2 small{font-weight:400;color:var(--soft);margin-left:6px}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;margin:16px 0;overflow:hidden}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(140px,1fr));gap:12px;background:none;border:0}
.tile{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:12px 14px}
.tile>span{display:block;color:var(--soft);font-size:13px}.tile b{font-size:22px;font-variant-numeric:tabular-nums}
.tile b small{font-size:13px;font-weight:400;color:var(--soft)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:7px 16px;border-bottom:1px solid var(--line);vertical-align:top}
tr:last-child td,tr:last-child th{border-bottom:0}
thead th{font-size:12.5px;color:var(--soft);font-weight:600;white-space:nowrap}
td{overflow-wrap:break-word}.wrap{overflow-wrap:anywhere}
.keep{white-space:nowrap}.number,.time{font-variant-numeric:tabular-nums;white-space:nowrap}
.number{text-align:right}
code,.mono{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
.soft{color:var(--soft)}.none{padding:18px 16px;color:var(--soft);margin:0}
.tag{display:inline-block;border-radius:999px;padding:1px 9px;font-size:12.5px;font-weight:600;white-space:nowrap;
background:var(--plain-back)}
.good{color:var(--good);background:var(--good-back)}.bad{color:var(--bad);background:var(--bad-back)}
.warn{color:var(--warn);background:var(--warn-back)}
.alert{border-color:var(--bad)}.alert h2{color:var(--bad);background:var(--bad-back)}
.alert pre{margin:0;padding:12px 16px;white-space:pre-wrap;overflow-wrap:anywhere;font-size:13px}
.matrix th[scope=row]{position:sticky;left:0;background:var(--card);font-weight:600;white-space:nowrap}
.matrix td{white-space:nowrap}.matrix th,.matrix td{padding:7px 10px}.matrix th:first-child{padding-left:16px}
meter{width:90px;height:12px;vertical-align:middle}
footer{padding-top:4px;padding-bottom:28px;color:var(--soft);font-size:14px}
footer a{color:var(--accent);margin-right:14px;display:inline-block;padding:6px 0}
#stale{display:none}body[data-stale] #stale{display:inline-block}
@media (max-width:700px){
.keep{white-space:normal}
.cards thead{display:none}.cards,.cards tbody,.cards tr,.cards td{display:block;width:100%}
.cards tr{padding:9px 16px;border-bottom:1px solid var(--line)}.cards tr:last-child{border-bottom:0}
.cards td{border:0;padding:2px 0;display:flex;gap:12px;justify-content:space-between;text-align:right}
.cards td::before{content:attr(data-label);color:var(--soft);font-size:13px;text-align:left;flex:none}
.cards td>span{min-width:0}.cards td:empty{display:none}
}`

/** Takes the page anew every two seconds and puts its main part in place of the old one; what was scrolled stays scrolled. */
export const SCRIPT = `'use strict'
const live = document.getElementById('live')
live.parentElement.hidden = false
const scrolled = () => [...document.querySelectorAll('.scroll')]
async function refresh() {
  if (live.checked && !document.hidden && getSelection().isCollapsed) {
    try {
      const answer = await fetch(location.pathname, { cache: 'no-store' })
      if (!answer.ok) throw new Error(String(answer.status))
      const next = new DOMParser().parseFromString(await answer.text(), 'text/html').querySelector('main')
      const offsets = scrolled().map((each) => each.scrollLeft)
      document.querySelector('main').replaceWith(document.adoptNode(next))
      scrolled().forEach((each, index) => { each.scrollLeft = offsets[index] ?? 0 })
      delete document.body.dataset.stale
    } catch {
      document.body.dataset.stale = 'yes'
    }
  }
  setTimeout(refresh, 2000)
}
setTimeout(refresh, 2000)
`

const hash = (text: string) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`

export const PAGE_HEADERS: Readonly<Record<string, string>> = {
  'content-security-policy': [
    "default-src 'none'",
    `style-src ${hash(STYLE)}`,
    `script-src ${hash(SCRIPT)}`,
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; '),
  'referrer-policy': 'no-referrer',
  'x-frame-options': 'DENY',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
}

/** The status page (`:15000/`): one report as HTML that needs nothing else, not even its script. */
import type { SourceRef } from '../core/attributes.ts'
import { type Html, html } from './html.ts'
import type { DecisionStatus, StatusReport } from './status.ts'
import { callerMatrix, shortPrincipal } from './status-matrix.ts'
import { SCRIPT, STYLE } from './status-style.ts'

const NOTHING = html`<span class="soft">–</span>`
const LOGO = html`<svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.8" stroke-linejoin="round" aria-hidden="true"><path d="M3 21V6h3v2h2.500V6h3v2h1V6h3v2H18V6h3v15z"/><path d="M9 21v-5a3 3 0 0 1 6 0v5"/></svg>`

type Column<T> = {
  readonly title: string
  readonly class?: string
  readonly cell: (row: T) => Html | string | number | null
}

/** A table that becomes a list of cards on a narrow screen. */
function table<T>(columns: readonly Column<T>[], rows: readonly T[], empty: string): Html {
  if (rows.length === 0) return html`<p class="none">${empty}</p>`
  const heads = columns.map(({ title, class: name }) => html`<th scope="col" class="${name ?? ''}">${title}</th>`)
  const lines = rows.map((row) => {
    const cells = columns.map(({ title, class: name, cell }) => {
      const value = cell(row)
      const content = value === '' || value === null ? null : html`<span>${value}</span>`
      return html`<td data-label="${title}" class="${name ?? ''}">${content}</td>`
    })
    return html`<tr>${cells}</tr>`
  })
  return html`<div class="scroll" tabindex="0"><table class="cards"><thead><tr>${heads}</tr></thead><tbody>${lines}</tbody></table></div>`
}

const section = (title: string, note: string, body: Html): Html =>
  html`<section><h2>${title} <small>${note}</small></h2>${body}</section>`
const tile = (name: string, value: Html | number | string): Html =>
  html`<div class="tile"><span>${name}</span><b>${value}</b></div>`
const tag = (kind: 'good' | 'bad' | 'warn' | '', text: string): Html => html`<span class="tag ${kind}">${text}</span>`
const clock = (iso: string): Html => html`<time datetime="${iso}" title="${iso}">${iso.slice(11, 19)}</time>`

/** `resources/a.yaml:12`, the whole path when pointed at. */
const place = ({ file, line }: SourceRef): Html =>
  html`<code title="${file}:${line}">${file.slice(file.lastIndexOf('/') + 1)}:${line}</code>`

const who = (principal: string | null): Html =>
  principal === null
    ? html`<span class="soft">no identity</span>`
    : html`<span title="${principal}">${shortPrincipal(principal)}</span>`

function target({ kind, method, host, path }: DecisionStatus): Html {
  if (kind === 'http') return html`<span class="mono">${method} ${host}${path}</span>`
  return html`<span class="mono">${host ?? ''}</span> <span class="soft">${kind}</span>`
}

function answer({ code, flags }: DecisionStatus): Html | null {
  const text = `${code === 0 ? '' : code} ${flags === '-' ? '' : flags}`.trim()
  if (text === '') return null
  return code >= 500 || (code === 0 && flags !== '-') ? tag('warn', text) : html`${text}`
}

function outcome({ outcome: what, reason, policy, shadow }: DecisionStatus): Html {
  const by = policy === null ? null : html` <code class="soft">${policy}</code>`
  const dry = shadow?.startsWith('deny') === true ? html` ${tag('warn', 'dry run: refuse')}` : null
  return html`${what === 'refused' ? tag('bad', reason ?? 'refused') : tag('good', 'let through')}${by}${dry}`
}

const DECISIONS: readonly Column<DecisionStatus>[] = [
  { title: 'Time (UTC)', class: 'time', cell: ({ at }) => clock(at) },
  { title: 'Caller', class: 'keep', cell: ({ principal }) => who(principal) },
  { title: 'Wanted', class: 'wrap', cell: target },
  { title: 'Decision', class: 'wrap', cell: outcome },
  { title: 'Answer', class: 'time', cell: answer },
  {
    title: 'Went to',
    class: 'keep',
    cell: ({ upstream }) => (upstream === null ? NOTHING : html`<code>${upstream}</code>`),
  },
  { title: 'ms', class: 'number', cell: ({ durationMs }) => durationMs },
]

const ROUTES: readonly Column<StatusReport['routes'][number]>[] = [
  { title: 'Port', class: 'number', cell: ({ gatewayPort }) => gatewayPort },
  {
    title: 'Name',
    class: 'wrap',
    cell: ({ host, kind }) => html`<span class="mono">${host}</span> ${kind === 'tunnel' ? tag('', 'tunnel') : null}`,
  },
  { title: 'Leads to', class: 'wrap', cell: ({ leadsTo }) => html`<code>${leadsTo.join(' ')}</code>` },
  {
    title: 'Callers',
    cell: ({ callers }) => (callers === null ? html`<span class="soft">by policy</span>` : callers.join(' ')),
  },
  { title: 'From', cell: ({ source }) => place(source) },
]

const POLICIES: readonly Column<StatusReport['policies'][number]>[] = [
  {
    title: 'Action',
    cell: ({ action, dryRun }) =>
      html`${tag(action === 'DENY' ? 'bad' : 'good', action)} ${dryRun ? tag('warn', 'dry run') : null}`,
  },
  { title: 'Policy', cell: ({ namespace, name }) => `${namespace}/${name}` },
  { title: 'Rules', class: 'number', cell: ({ rules }) => rules },
  { title: 'From', cell: ({ source }) => place(source) },
]

/** `now` in milliseconds since the epoch. */
function certificates(report: StatusReport, now: number): Html {
  type Row = StatusReport['certificates'][number]
  const columns: readonly Column<Row>[] = [
    { title: 'Credential', cell: ({ credential }) => credential },
    { title: 'Kind', cell: ({ kind }) => (kind === 'ca' ? 'CA' : 'certificate') },
    { title: 'Names', class: 'wrap', cell: ({ sans }) => html`<span class="mono">${sans.join(' ')}</span>` },
    {
      title: 'Expires',
      class: 'time',
      cell: ({ notAfter }) =>
        html`<time datetime="${notAfter}" title="${notAfter}">${timeLeft(Date.parse(notAfter) - now)}</time>`,
    },
    { title: 'Life left', cell: (row) => lifeLeft(row, now) },
  ]
  return table(columns, report.certificates, 'No certificate is in use.')
}

/** A meter: a bar of our own would need a style attribute, which the content security policy forbids. */
function lifeLeft({ notBefore, notAfter }: StatusReport['certificates'][number], now: number): Html {
  const [from, to] = [Date.parse(notBefore), Date.parse(notAfter)]
  const share = Math.max(0, Math.min(1, (to - now) / Math.max(1, to - from)))
  const kind = share <= 0.05 ? 'bad' : share < 0.2 ? 'warn' : 'good'
  return html`<meter min="0" max="100" low="20" high="20" optimum="100" value="${Math.round(share * 100)}">${Math.round(share * 100)} %</meter> ${kind === 'good' ? null : tag(kind, `${Math.round(share * 100)} %`)}`
}

function timeLeft(ms: number): string {
  if (ms <= 0) return 'expired'
  const hours = ms / 3_600_000
  if (hours < 1) return `in ${Math.floor(ms / 60_000)} min`
  return hours < 48 ? `in ${Math.floor(hours)} h` : `in ${Math.floor(hours / 24)} days`
}

function tiles({ totals, lastReload, server }: StatusReport): Html {
  const share = totals.requests === 0 ? 0 : Math.round((totals.refused / totals.requests) * 100)
  return html`<section class="tiles" aria-label="Totals">${[
    tile('Judged since the start', totals.requests),
    tile('Refused', html`${totals.refused} <small>${share} %</small>`),
    tile('Open connections', totals.connections),
    tile('Open tunnels', totals.tunnels),
    tile(
      'Configuration',
      html`${lastReload.successful ? tag('good', 'active') : tag('bad', 'last reload refused')} <small>generation ${word(server['generation'])}</small>`,
    ),
    tile('Last load (UTC)', clock(lastReload.at)),
  ]}</section>`
}

function reloadErrors({ lastReload }: StatusReport): Html | null {
  if (lastReload.successful) return null
  return html`<section class="alert" role="alert"><h2>The last reload was refused <small>the last good configuration stays active</small></h2><pre>${lastReload.errors.join('\n')}</pre></section>`
}

const LINKS = ['status.json', 'config_dump', 'clusters', 'listeners', 'certs', 'stats', 'stats/prometheus', 'help']

/** The whole document. `now`: milliseconds since the epoch. */
export function statusPage(report: StatusReport, now: number): string {
  const { server, state, decisions, routes, policies } = report
  const name = `${word(server['namespace'])}/${word(server['gateway'])}`
  const about = `${name} · version ${word(server['version'])} · up ${timeUp(Number(server['uptime_seconds']))}`
  const main = html`<main>${[
    ...[reloadErrors(report)].filter((each) => each !== null),
    tiles(report),
    section('Who goes where', 'requests and tunnels since the start', callerMatrix(report.callers)),
    section('Decisions', `the last ${decisions.length}`, table(DECISIONS, decisions, 'Nothing has been asked yet.')),
    section('Routes', `${routes.length} names`, table(ROUTES, routes, 'No resource names a host for this gateway.')),
    section(
      'Authorization policies',
      `${policies.length} apply here`,
      table(POLICIES, policies, 'None: every registered host may be called.'),
    ),
    section('Certificates', 'the next to expire first', certificates(report, now)),
  ]}</main>`
  const head = html`<header>${LOGO}<h1>Sallyport ${tag(state === 'LIVE' ? 'good' : 'warn', state)} <span id="stale" class="tag bad">no answer</span><small>${about}</small></h1><label hidden><input type="checkbox" id="live" checked> live</label></header>`
  const links = LINKS.map((link) => html`<a href="${link}">/${link}</a>`)
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>${html`${name}`.html} – Sallyport</title><noscript><meta http-equiv="refresh" content="5"></noscript><style>${STYLE}</style></head><body>${head.html}${main.html}<footer>${html`${links}`.html}</footer><script>${SCRIPT}</script></body></html>\n`
}

function word(value: unknown): string {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : ''
}

function timeUp(seconds: number): string {
  if (seconds < 120) return `${seconds} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 120) return `${minutes} min`
  return minutes < 2880 ? `${Math.floor(minutes / 60)} h` : `${Math.floor(minutes / 1440)} days`
}

/** Identity × destination as a table: the busiest callers down, the busiest destinations across. */
import { type Html, html } from './html.ts'
import type { CallerCount } from './metrics/own.ts'

/** What fits a screen; all of it is in /status.json. */
const MAX_CALLERS = 20
const MAX_HOSTS = 8

/** `NS/SA` of an Istio SPIFFE ID, anything else whole; for people, who can point at it to see all. */
export function shortPrincipal(principal: string): string {
  const parts = /^spiffe:\/\/[^/]+\/ns\/([^/]+)\/sa\/([^/]+)$/.exec(principal)
  return parts === null ? (principal === 'none' ? 'no identity' : principal) : `${parts[1]}/${parts[2]}`
}

function busiest(counts: readonly CallerCount[], key: 'principal' | 'host', limit: number): readonly string[] {
  const totals = new Map<string, number>()
  for (const count of counts) totals.set(count[key], (totals.get(count[key]) ?? 0) + count.total)
  return [...totals]
    .sort(([, a], [, b]) => b - a)
    .slice(0, limit)
    .map(([name]) => name)
}

export function callerMatrix(counts: readonly CallerCount[]): Html {
  if (counts.length === 0) return html`<p class="none">Nobody has called yet.</p>`
  const hosts = busiest(counts, 'host', MAX_HOSTS)
  const callers = busiest(counts, 'principal', MAX_CALLERS)
  const at = new Map(counts.map((count) => [`${count.principal} ${count.host}`, count]))
  const cell = (count: CallerCount | undefined): Html => {
    if (count === undefined) return html`<td class="soft">·</td>`
    const through = count.total - count.refused
    const good = through === 0 ? null : html`<span class="tag good" title="let through">✓ ${through}</span> `
    const bad = count.refused === 0 ? null : html`<span class="tag bad" title="refused">✕ ${count.refused}</span>`
    return html`<td>${good}${bad}</td>`
  }
  const rows = callers.map(
    (principal) =>
      html`<tr><th scope="row" title="${principal}">${shortPrincipal(principal)}</th>${hosts.map((host) => cell(at.get(`${principal} ${host}`)))}</tr>`,
  )
  const heads = hosts.map((host) => html`<th scope="col" class="mono">${host}</th>`)
  const shown = counts.filter(({ principal, host }) => callers.includes(principal) && hosts.includes(host)).length
  const rest =
    shown === counts.length ? null : html`<p class="none">${counts.length - shown} more pairs are in /status.json.</p>`
  return html`<div class="scroll" tabindex="0"><table class="matrix"><thead><tr><th scope="col">Caller</th>${heads}</tr></thead><tbody>${rows}</tbody></table></div>${rest}`
}

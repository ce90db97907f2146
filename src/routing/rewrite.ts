/**
 * What a route changes on the way out: path, authority, header fields (behaviour §4.5). The result is what is sent, so
 * whatever could turn it into something policy did not judge is refused: at load where it can be seen, else here.
 */
import type { HeaderList } from '../core/attributes.ts'
import { compileReplacement } from '../core/regex.ts'
import type { ForwardAction, HeaderEdit, HeaderEdits, MatchModel, RewriteModel } from '../model/route.ts'
import { type HeaderFacts, headerText } from './header-values.ts'

/** The path to send; null: refused, because the result is no path or one that policy never saw. */
export type PathRewrite = (path: string, matched: MatchModel | null) => string | null

/** null: the path stays. Throws RegexError for a pattern or substitution that config should have refused. */
export function compileRewrite(rewrite: RewriteModel | null): PathRewrite | null {
  if (rewrite === null) return null
  const { uri, uriRegex } = rewrite
  if (uri !== null) return (path, matched) => rewritePath(path, matched, uri)
  if (uriRegex === null) return null
  const replace = compileReplacement(uriRegex.pattern, uriRegex.substitution)
  return (path) => {
    // `OPTIONS *` is no path.
    if (!path.startsWith('/')) return path
    const rewritten = replace(path)
    return rewritten === path || (PATH.test(rewritten) && !hasDotSegment(rewritten)) ? rewritten : null
  }
}

/** Printable ASCII without `?` and `#`: Envoy would make a query of what a substitution puts behind one. */
const PATH = /^\/[\x21\x22\x24-\x3e\x40-\x7e]*$/

/**
 * The path to send after `rewrite.uri`: replaces the matched prefix, or the whole path when the match was exact or a
 * regex (Envoy prefix_rewrite). A match without `uri` is the prefix `/`, as in Istio. The query is not touched.
 * null: the result would hold a `.` or `..` segment (prefix `/a` → `/` turns `/a../admin` into `/../admin`), a path
 * that policy never saw; Envoy forwards it, we answer 400.
 */
export function rewritePath(path: string, matched: MatchModel | null, uri: string): string | null {
  const match = matched?.uri ?? null
  if (match !== null && match.kind !== 'prefix') return uri
  const prefix = match === null ? '/' : match.value
  // `OPTIONS *` is no path and has no prefix to replace.
  if (!path.startsWith('/')) return path
  const rewritten = uri + path.slice(prefix.length)
  return hasDotSegment(rewritten) ? null : rewritten
}

/** True for a `.` or `..` segment, also spelt `%2e`. */
export function hasDotSegment(path: string): boolean {
  let start = 0
  while (start <= path.length) {
    const slash = path.indexOf('/', start)
    const end = slash === -1 ? path.length : slash
    // At most `%2e%2e`: longer segments are never dots.
    if (end > start && end - start <= 6) {
      const segment = path.slice(start, end)
      const plain = segment.includes('%') ? segment.replaceAll('%2e', '.').replaceAll('%2E', '.') : segment
      if (plain === '.' || plain === '..') return true
    }
    start = end + 1
  }
  return false
}

/**
 * The authority to send: `host` set on the destination, else on the route, else `rewrite.authority`, else the caller's
 * own (Istio applyHTTPRouteDestination). Only the Host field: which upstream is dialled is the cluster's business.
 */
export function rewriteAuthority(
  authority: string,
  rewrite: ForwardAction['rewrite'],
  route: HeaderEdits | null,
  destination: HeaderEdits | null,
): string {
  return setHost(destination) ?? setHost(route) ?? rewrite?.authority ?? authority
}

function setHost(edits: HeaderEdits | null): string | null {
  if (edits === null) return null
  const value = edits.request.set.find(([name]) => name === 'host')?.[1] ?? null
  // Config refuses an authority that is computed from operators.
  return typeof value === 'string' ? value : null
}

/**
 * Applies edits in the order given; Envoy applies the destination's before the route's, so that the route's `set` wins.
 * Within one: remove, then set (replace), then add (append). Never mutates; returns `headers` itself when there is
 * nothing to do. `host` is left alone: it is rewriteAuthority's. `facts` fill in command operators: a `set` whose value
 * comes out empty removes the header, an `add` does nothing.
 */
export function editHeaders(
  headers: HeaderList,
  edits: readonly (HeaderEdit | null)[],
  facts: HeaderFacts,
): HeaderList {
  let result = headers
  for (const edit of edits) if (edit !== null) result = applyEdit(result, edit, facts)
  return result
}

function applyEdit(headers: HeaderList, edit: HeaderEdit, facts: HeaderFacts): HeaderList {
  if (edit.remove.length === 0 && edit.set.length === 0 && edit.add.length === 0) return headers
  const result: string[] = []
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    if (name !== 'host' && (edit.remove.includes(name) || edit.set.some(([set]) => set === name))) continue
    result.push(name, headers[i + 1] as string)
  }
  for (const list of [edit.set, edit.add]) {
    for (const [name, value] of list) {
      const text = name === 'host' ? null : headerText(value, facts)
      if (text !== null) result.push(name, text)
    }
  }
  return result
}

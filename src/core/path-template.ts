/**
 * Istio's path templates (behaviour §1.5): `{*}` is one segment, `{**}` any run of segments, possibly empty.
 * Matches what Envoy's regular expression matches, with one forward pass instead of an expression.
 */

/** The characters Envoy's uri_template lets an operator stand for; note that `=` and `*` are not among them. */
const OPERATOR_CHARS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~%!$&'()+,;:@"
const LITERAL_CHARS = `${OPERATOR_CHARS}=`

const IN_CLASS = new Uint8Array(128)
for (const char of OPERATOR_CHARS) IN_CLASS[char.charCodeAt(0)] = 1

const SLASH = 47

/** True when the value is to be read as a template: it contains `{*}` or `{**}`. */
export function isPathTemplate(value: string): boolean {
  return value.includes('{*}') || value.includes('{**}')
}

/**
 * Why a `paths` value cannot be used, or null when it can (pkg/config/security/security.go CheckValidPathTemplate).
 * Braces are refused in plain values too: a misspelt operator must not become a literal that never matches.
 */
export function pathTemplateError(value: string): string | null {
  const template = isPathTemplate(value)
  if (template && !value.startsWith('/')) return 'a path template must start with /'
  let ended = false
  for (const segment of value.replace(/^\/+|\/+$/g, '').split('/')) {
    if (segment === '{*}' || segment === '{**}') {
      if (ended) return 'no operator may follow {**}'
      ended = segment === '{**}'
      continue
    }
    if (segment.includes('{') || segment.includes('}'))
      return 'braces are only allowed as {*} or {**}, each filling a whole segment'
    if (!template) continue
    if (segment === '') return 'a template must not contain an empty segment'
    for (const char of segment)
      if (!LITERAL_CHARS.includes(char))
        return `${JSON.stringify(char)} is not allowed in a template (a plain * cannot be combined with {*} or {**})`
  }
  return null
}

type Step = { readonly kind: 'literal'; readonly text: string } | { readonly kind: 'segment' }

/**
 * Compiles a template that `pathTemplateError` accepts; throws RangeError otherwise. The matcher wants a path without
 * query. `wide` lets the operators stand for every character (`{*}`: but `/`): Envoy's class lacks `=` and `*`, so that
 * there `/admin/a=b` slips past a DENY of `/admin/{*}`. Use it where a match refuses.
 */
export function compilePathTemplate(template: string, wide = false): (path: string) => boolean {
  const error = pathTemplateError(template)
  if (error !== null || !isPathTemplate(template))
    throw new RangeError(`bad path template ${JSON.stringify(template)}: ${error ?? 'it has no operator'}`)
  const rest = template.indexOf('{**}')
  const head = rest < 0 ? template : template.slice(0, rest)
  const steps: Step[] = []
  for (const [i, text] of head.split('{*}').entries()) {
    if (i > 0) steps.push({ kind: 'segment' })
    if (text !== '') steps.push({ kind: 'literal', text })
  }
  const tail = rest < 0 ? null : template.slice(rest + 4)

  const fits = wide ? anyButSlash : inClass
  return (path) => {
    let at = 0
    for (const step of steps) {
      if (step.kind === 'literal') {
        if (!path.startsWith(step.text, at)) return false
        at += step.text.length
        continue
      }
      // An operator fills its segment, and `/` is not in the class: taking all that fits is the only way to match.
      const start = at
      while (at < path.length && fits(path.charCodeAt(at))) at++
      if (at === start) return false
    }
    if (tail === null) return at === path.length
    const end = path.length - tail.length
    if (end < at || !path.endsWith(tail)) return false
    for (; at < end; at++) {
      const code = path.charCodeAt(at)
      if (code !== SLASH && !fits(code)) return false
    }
    return true
  }
}

function anyButSlash(code: number): boolean {
  return code !== SLASH
}

function inClass(code: number): boolean {
  return code < 128 && IN_CLASS[code] === 1
}

/** HTML with every value escaped unless it is HTML already: the only way to make markup here. */

export type Html = { readonly html: string }

type Value = string | number | null | Html | readonly Html[]

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}
/**
 * Control characters, and those that make text read in another order (a name that shows as another, CVE-2021-42574): they
 * are shown as their code points.
 */
const UNSEEN = /[\p{Cc}\p{Cf}\u2028\u2029]/gu

/** Text for an element or a quoted attribute. */
export function escapeHtml(text: string): string {
  return text
    .replace(UNSEEN, (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`)
    .replace(/[&<>"']/g, (character) => ESCAPES[character] ?? '')
}

function render(value: Value): string {
  if (value === null) return ''
  if (typeof value === 'string') return escapeHtml(value)
  if (typeof value === 'number') return String(value)
  return 'html' in value ? value.html : value.map(({ html: each }) => each).join('')
}

/** Tagged template. Attributes must be quoted; values must not stand in a script, a style or a URL's scheme. */
export function html(strings: TemplateStringsArray, ...values: readonly Value[]): Html {
  let text = strings[0] ?? ''
  for (const [index, value] of values.entries()) text += render(value) + (strings[index + 1] ?? '')
  return { html: text }
}

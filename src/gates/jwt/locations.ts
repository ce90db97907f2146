/** Where tokens are in a request, and the request without them. */
import { type HeaderList, type HttpAttributes, headerValue, headerValues } from '../../core/attributes.ts'
import type { TokenLocation } from '../../model/token.ts'

/** A token, or what stands in its place and is none. */
export type FoundToken = { readonly text: string; readonly location: TokenLocation }

export function findTokens(locations: readonly TokenLocation[], http: HttpAttributes): readonly FoundToken[] {
  const found: FoundToken[] = []
  for (const location of locations) for (const text of textsAt(location, http)) found.push({ text, location })
  return found
}

function textsAt(location: TokenLocation, { headers, query }: HttpAttributes): readonly string[] {
  switch (location.in) {
    case 'header':
      return inHeader(headerValues(headers, location.name), location.prefix)
    case 'param':
      return query === null
        ? []
        : pairs(query, '&').flatMap((pair) => (nameOf(pair) === location.name ? valueOf(pair) : []))
    case 'cookie':
      return cookies(headers).flatMap((cookie) => (cookie.name === location.name ? unquoted(cookie.value) : []))
  }
}

/**
 * Schemes have no case (RFC 9110 §11.1). Where the prefix stands in a value but not before it, Envoy takes what follows for
 * the token; others would not. So the whole value is taken, and is none. Beside a token every other value of its field
 * counts as one: nobody can say which the destination goes by.
 */
function inHeader(values: readonly string[], prefix: string): readonly string[] {
  if (values.length === 0) return values
  const folded = prefix.toLowerCase()
  if (!values.some((value) => value.toLowerCase().includes(folded))) return []
  return values.map((value) => (value.toLowerCase().startsWith(folded) ? value.slice(prefix.length).trim() : value))
}

/** The request without what stands at these places. */
export function withoutTokens(http: HttpAttributes, locations: readonly TokenLocation[]): HttpAttributes {
  let { headers, query } = http
  for (const location of locations) {
    if (location.in === 'header') headers = withoutField(headers, location.name)
    else if (location.in === 'cookie') headers = withoutCookie(headers, location.name)
    else if (query !== null) {
      const rest = pairs(query, '&').filter((pair) => nameOf(pair) !== location.name)
      query = rest.length === 0 ? null : rest.join('&')
    }
  }
  return { ...http, headers, query }
}

/** The list itself where it has no such field. */
export function withoutField(headers: HeaderList, name: string): HeaderList {
  return headerValue(headers, name) === null ? headers : headers.filter((_, i) => headers[i - (i % 2)] !== name)
}

function withoutCookie(headers: HeaderList, name: string): HeaderList {
  const rest = cookies(headers).filter((cookie) => cookie.name !== name)
  const others = withoutField(headers, 'cookie')
  if (rest.length === 0) return others
  return [...others, 'cookie', rest.map(({ pair }) => pair).join('; ')]
}

function pairs(text: string, separator: string): readonly string[] {
  return text.split(separator)
}

function nameOf(pair: string): string {
  const equals = pair.indexOf('=')
  return decoded(equals < 0 ? pair : pair.slice(0, equals))
}

function valueOf(pair: string): string {
  const equals = pair.indexOf('=')
  return equals < 0 ? '' : decoded(pair.slice(equals + 1))
}

/** What cannot be decoded is taken as it is. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    return text
  }
}

type Cookie = { readonly name: string; readonly value: string; readonly pair: string }

function cookies(headers: HeaderList): readonly Cookie[] {
  return headerValues(headers, 'cookie')
    .flatMap((value) => pairs(value, ';'))
    .map((part) => part.trim())
    .filter((pair) => pair !== '')
    .map((pair) => {
      const equals = pair.indexOf('=')
      return equals < 0
        ? { name: pair, value: '', pair }
        : { name: pair.slice(0, equals).trim(), value: pair.slice(equals + 1).trim(), pair }
    })
}

function unquoted(value: string): string {
  return value.length > 1 && value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1) : value
}

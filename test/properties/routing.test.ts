/**
 * Routing against a naive reading of the same YAML: a linear scan over the VirtualServices themselves, with JavaScript's
 * own expressions, as behaviour §4.2–4.4 tells it. What the gateway uses is lowered, compiled and indexed.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { hostCovers } from '../../src/core/host-pattern.ts'
import { compileRouteTable, pickDestination } from '../../src/routing/table.ts'
import { httpRequest, routeModel, virtualHostModel } from '../../src/testing/routes.ts'
import { gw, NS, run, server, vs } from '../../src/testing/virtual-services.ts'

type Text = { readonly exact?: string; readonly prefix?: string; readonly regex?: string }
type Match = {
  readonly uri?: Text
  readonly ignoreUriCase?: boolean
  readonly method?: Text
  readonly headers?: Readonly<Record<string, Text>>
  readonly withoutHeaders?: Readonly<Record<string, Text>>
  readonly queryParams?: Readonly<Record<string, Text>>
  readonly port?: number
  readonly gateways?: readonly string[]
}
type Rule = { readonly name: string; readonly match?: readonly Match[] }
type Service = { readonly hosts: readonly string[]; readonly http: readonly Rule[] }
type Asked = {
  readonly host: string
  readonly path: string
  readonly query: string | null
  readonly method: string
  readonly headers: Readonly<Record<string, string>>
}

/** `{}` asks for presence. */
function holds(text: Text, value: string, anyCase = false): boolean {
  const fold = (each: string) => (anyCase ? each.toLowerCase() : each)
  if (text.exact !== undefined) return fold(value) === fold(text.exact)
  if (text.prefix !== undefined) return fold(value).startsWith(fold(text.prefix))
  return text.regex === undefined || new RegExp(`^(?:${text.regex})$`).test(value)
}

function matchHolds(match: Match, asked: Asked): boolean {
  const params = (asked.query ?? '').split('&').map((each) => each.split('='))
  const every = (named: Readonly<Record<string, Text>> | undefined, value: (name: string) => string | undefined) =>
    Object.entries(named ?? {}).every(([name, text]) => {
      const found = value(name)
      return found !== undefined && holds(text, found)
    })
  const without = Object.entries(match.withoutHeaders ?? {}).every(([name, text]) => {
    const found = asked.headers[name]
    return Object.keys(text).length === 0 ? found === undefined : !holds(text, found ?? '')
  })
  return (
    (match.uri === undefined || holds(match.uri, asked.path, match.ignoreUriCase)) &&
    (match.method === undefined || holds(match.method, asked.method)) &&
    every(match.headers, (name) => asked.headers[name]) &&
    without &&
    every(match.queryParams, (name) =>
      params
        .find(([first]) => first === name)
        ?.slice(1)
        .join('='),
    )
  )
}

const concerns = ({ port, gateways }: Match) =>
  (port === undefined || port === 80) && (gateways === undefined || gateways.includes(`${NS}/gw`))

/** Everything, whatever the request: sorted behind the rest of a host. */
function isForAll({ uri, method, headers = {}, withoutHeaders = {}, queryParams = {} }: Match): boolean {
  const all = uri === undefined || uri.prefix === '/' || uri.regex === '.*'
  const named = { ...headers, ...withoutHeaders, ...queryParams }
  return all && method === undefined && Object.keys(named).length === 0
}

type Step = { readonly name: string; readonly match: Match }

/** What of one VirtualService counts on the server, rule by rule, match by match. */
function steps({ http }: Service): readonly Step[] {
  const found: Step[] = []
  for (const { name, match } of http) {
    if (match === undefined) return [...found, { name, match: {} }]
    for (const each of match) {
      if (!concerns(each)) continue
      found.push({ name, match: each })
      if (isForAll(each) && each.uri !== undefined) return found
    }
  }
  return found
}

function reference(services: readonly Service[], asked: Asked): string | null {
  const patterns = [...new Set(services.flatMap(({ hosts }) => hosts))]
  const covering = patterns.filter((each) => hostCovers(each, asked.host)).toSorted((a, b) => b.length - a.length)
  const exactFirst = [
    ...covering.filter((each) => each === asked.host),
    ...covering.filter((each) => each !== asked.host),
  ]
  for (const host of exactFirst) {
    const list = services.filter(({ hosts }) => hosts.includes(host)).flatMap(steps)
    if (list.length === 0) continue
    const ordered = [...list.filter(({ match }) => !isForAll(match)), ...list.filter(({ match }) => isForAll(match))]
    return ordered.find(({ match }) => matchHolds(match, asked))?.name ?? null
  }
  return null
}

const optional = <Value>(value: fc.Arbitrary<Value>) => fc.option(value, { nil: undefined, freq: 2 })
const pathText = fc.constantFrom('/', '/a', '/A', '/a/b', '/ab', '/b')
const uri: fc.Arbitrary<Text> = fc.oneof(
  pathText.map((exact) => ({ exact })),
  pathText.map((prefix) => ({ prefix })),
  fc.constantFrom('.*', '/a.*', '/(a|b)', '/[ab]+', '/a/?').map((regex) => ({ regex })),
)
const short = fc.constantFrom('', '1', '12', '2')
const valueMatch: fc.Arbitrary<Text> = fc.oneof(
  short.map((exact) => ({ exact })),
  fc.constantFrom('1', '2').map((prefix) => ({ prefix })),
  fc.constantFrom('1.*', '[0-9]*', '2|12').map((regex) => ({ regex })),
  fc.constant({}),
)
const name = fc.constantFrom('x', 'y')
const named = fc.dictionary(name, valueMatch, { minKeys: 1, maxKeys: 2, noNullPrototype: true })
const clean = <Value extends object>(value: Value): Value =>
  Object.fromEntries(Object.entries(value).filter(([, each]) => each !== undefined)) as Value

const match: fc.Arbitrary<Match> = fc
  .record({
    uri: optional(uri),
    ignoreUriCase: optional(fc.boolean()),
    method: optional(fc.constantFrom<Text>({ exact: 'GET' }, { prefix: 'P' }, { regex: 'PUT|GET' })),
    headers: optional(named),
    withoutHeaders: optional(named),
    queryParams: optional(named),
    port: optional(fc.constantFrom(80, 81)),
    gateways: optional(fc.constantFrom(['mesh'], [`${NS}/gw`], ['mesh', `${NS}/gw`])),
  })
  .map((each) => clean(each) as Match)
const service = fc.record({
  hosts: fc.uniqueArray(fc.constantFrom('a.com', '*.com', '*.a.com', 'b.a.com', '*'), { minLength: 1, maxLength: 2 }),
  http: fc.array(optional(fc.array(match, { minLength: 1, maxLength: 3 })), { minLength: 1, maxLength: 4 }),
})
const services = fc.array(service, { minLength: 1, maxLength: 3 }).map((list) =>
  list.map(
    ({ hosts, http }, index): Service => ({
      hosts,
      http: http.map((each, rule) => ({ name: `${index}.${rule}`, ...(each === undefined ? {} : { match: each }) })),
    }),
  ),
)
const asked: fc.Arbitrary<Asked> = fc.record({
  host: fc.constantFrom('a.com', 'b.a.com', 'c.b.a.com', 'x.com', 'x.org'),
  path: pathText,
  query: fc.option(
    fc
      .array(fc.tuple(name, short), { minLength: 1, maxLength: 3 })
      .map((list) => list.map((each) => each.join('=')).join('&')),
  ),
  method: fc.constantFrom('GET', 'PUT', 'POST'),
  headers: fc.dictionary(name, short, { maxKeys: 2, noNullPrototype: true }),
})

test('the compiled table chooses the rule that a linear scan of the YAML chooses', () => {
  let matched = 0
  fc.assert(
    fc.property(services, fc.array(asked, { minLength: 1, maxLength: 8 }), (list, requests) => {
      const resources = list.map(({ hosts, http }, index) =>
        vs(`v${index}`, {
          hosts,
          http: http.map((rule) => ({ ...rule, route: [{ destination: { host: 'a.com' } }] })),
        }),
      )
      const { tables } = run(gw([server(['*'])]), ...resources)
      const hosts = [...(tables.get('http.80')?.values() ?? [])]
      const table = compileRouteTable({
        name: 'http.80',
        virtualHosts: hosts.map(({ host, routes }) => virtualHostModel(host, { routes })),
      })
      for (const request of requests) {
        const headers = Object.entries(request.headers).flat()
        const found = table.virtualHost(request.host)?.match(httpRequest({ ...request, headers }), null) ?? null
        const expected = reference(list, request)
        if (expected !== null) matched += 1
        assert.equal(found?.name ?? null, expected)
      }
    }),
    { numRuns: 1500 },
  )
  assert.ok(matched > 1000, `only ${matched} requests matched anything: the property says little`)
})

/** Numerical Recipes' LCG: the same draws on every run. */
function draws(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
}

test('weights: shares within statistical bounds, whatever they add up to', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 1000 }), { minLength: 2, maxLength: 6 }),
      fc.nat(),
      (weights, seed) => {
        const destinations = weights.map((weight, index) => ({ cluster: String(index), weight, headers: null }))
        const base = routeModel('r')
        assert.equal(base.action.kind, 'forward')
        const action = { ...base.action, destinations }
        const table = compileRouteTable({
          name: 't',
          virtualHosts: [virtualHostModel('*', { routes: [{ ...base, action }] })],
        })
        const route = table.virtualHost('a.com')?.match(httpRequest(), null)?.route
        assert.ok(route)
        const counts = weights.map(() => 0)
        const random = draws(seed)
        const total = 6000
        for (let i = 0; i < total; i += 1) {
          const index = Number(pickDestination(route, random()).cluster)
          counts[index] = (counts[index] ?? 0) + 1
        }
        const sum = weights.reduce((a, b) => a + b, 0)
        // Pearson's χ² over what is expected often enough to count; 40 is beyond 10⁻⁶ for five degrees of freedom.
        let chi = 0
        for (const [index, weight] of weights.entries()) {
          const expected = (total * weight) / sum
          if (expected >= 5) chi += ((counts[index] ?? 0) - expected) ** 2 / expected
        }
        assert.ok(chi < 40, `χ² ${chi.toFixed(1)} for ${weights.join(':')}: ${counts.join(':')}`)
      },
    ),
    { numRuns: 60 },
  )
})

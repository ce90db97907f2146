/** Expressions: what they mean, what is missing, and what is refused, with its column. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { CEL_ATTRIBUTES, type CelAttribute } from './attributes.ts'
import { type CelReaders, type CelValue, compileCel } from './compile.ts'
import { CelError } from './error.ts'
import { parseCel } from './parse.ts'

type Subject = Partial<Record<CelAttribute, CelValue>>

const READERS = Object.fromEntries(
  Object.keys(CEL_ATTRIBUTES).map((name) => [name, (subject: Subject) => subject[name as CelAttribute]]),
) as CelReaders<Subject>

const evaluate = (text: string, subject: Subject = {}) => compileCel(parseCel(text), READERS)(subject)

const REQUEST: Subject = {
  'request.path': '/a/b?c=d',
  'request.host': 'site.example',
  'request.method': 'GET',
  'request.headers': ['x-a', '1', 'x-b', '2', 'x-a', '3'],
  'request.duration': 1500,
  'request.time': Date.parse('2024-01-02T03:04:05Z'),
  'response.code': 404,
  'response.flags': 0,
  'connection.mtls': true,
  'destination.port': 8080,
  'xds.cluster_name': 'outbound|443||site.example',
}

const MEANINGS: readonly (readonly [text: string, value: CelValue])[] = [
  ['true', true],
  ['!true || false', false],
  ['1 + 2 * 3 == 7', true],
  ['(1 + 2) * 3 == 9', true],
  ['-7 / 2 == -3', true],
  ['-7 % 2 == -1', true],
  ['7u == 7', true],
  ['0x10 == 16', true],
  ['1.5e1 == 15.0', true],
  ['1 == 1.0', true],
  ['-(-1) == 1', true],
  ['1 - 1 - 1 == -1', true],
  [`'a' + "b" == 'ab'`, true],
  [String.raw`'\x41\u00e9\n' == "A\303" + 'x'`, false],
  [String.raw`r'\d' == '\\d'`, true],
  [`"""two\nlines""".size()`, 9],
  ['"abc" < "abd"', true],
  ['response.code >= 400', true],
  ['response.code == 200 || response.code == 404', true],
  ['response.code in [403, 404]', true],
  ['!(response.code in [403, 405])', true],
  ['connection.mtls && request.method != "POST"', true],
  ['request.headers["X-A"]', '1,3'],
  ['request.headers.x', undefined],
  ["request.headers['x-' + 'b']", '2'],
  ["'x-a' in request.headers", true],
  ["'X-Z' in request.headers", false],
  ['size(request.headers)', 2],
  ['size([1, 2, 3])', 3],
  ['has(request.headers.x) ? request.headers.x : "none"', 'none'],
  ['has(response.code)', true],
  ['has(response.grpc_status)', false],
  ["request.path.startsWith('/a') && request.path.endsWith('=d') && request.path.contains('b?')", true],
  ["request.path.matches('^/[a-z]/')", true],
  ["request.path.matches('b.c')", true],
  ["matches(request.path, '^b')", false],
  ["request.path.matches('(?i)^/A')", true],
  ['request.path.size()', 8],
  ["request.duration > duration('1s')", true],
  ["request.duration - duration('1s') == duration('0.5s')", true],
  ["request.time < timestamp('2024-01-03T00:00:00Z')", true],
  ['string(destination.port)', '8080'],
  ['string(request.duration)', '1.5s'],
  ['string(connection.mtls)', 'true'],
  ['string(request.time)', '2024-01-02T03:04:05.000Z'],
  ["int('7') + int(1.9)", 8],
  ["double('1.5')", 1.5],
  ['response.code_details == null', undefined],
  ['xds.cluster_name == "BlackHoleCluster" // and a comment', false],
]

describe('what expressions mean', () => {
  for (const [text, value] of MEANINGS) test(text, () => assert.deepEqual(evaluate(text, REQUEST), value))
})

const MISSING: readonly (readonly [text: string, value: CelValue])[] = [
  ['response.code >= 400', undefined],
  ['!(response.code >= 400)', undefined],
  // The side that decides is enough, wherever it stands.
  ['response.code >= 400 || true', true],
  ['true || response.code >= 400', true],
  ['response.code >= 400 && false', false],
  ['false && response.code >= 400', false],
  ['response.code >= 400 || false', undefined],
  ['true && response.code >= 400', undefined],
  ['response.code in [200]', undefined],
  ['1 in [response.code, 1]', true],
  ['2 in [response.code, 1]', undefined],
  ['connection.mtls ? 1 : 2', undefined],
  ['request.host + "x"', undefined],
  ['1 / 0', undefined],
  ['1 % 0', undefined],
  ["int('x')", undefined],
  ['request.headers["a"]', undefined],
  ['"a" in request.headers', undefined],
  ['has(request.headers.a)', false],
]

describe('what is missing', () => {
  for (const [text, value] of MISSING) test(text, () => assert.equal(evaluate(text), value))
})

const REFUSED: readonly (readonly [text: string, column: number, message: RegExp])[] = [
  ['', 1, /unexpected end/],
  ['response.code >=', 17, /unexpected end/],
  ['response.code = 400', 15, /unexpected "="/],
  ['response.codes >= 400', 1, /unknown attribute response\.codes; there are response\.code,/],
  ['filter_state.upstream_peer.app', 1, /unknown attribute filter_state/],
  ['upstream_peer', 1, /unknown attribute upstream_peer/],
  ['request', 1, /unknown attribute request; there are request\.path,/],
  ['response.code >= "400"', 15, />= cannot compare int with string/],
  ['connection.mtls == 1', 17, /== cannot compare bool with int/],
  ['request.headers == request.headers', 17, /cannot compare map/],
  ['response.code && true', 1, /expected bool, found int/],
  ['!request.path', 2, /expected bool, found string/],
  ['response.code ? 1 : 2', 1, /expected bool/],
  ['true ? 1 : "a"', 6, /gives int or string/],
  ['request.path + 1', 14, /\+ cannot take string and int/],
  ['1 + 1.5', 3, /\+ cannot take int and double/],
  ['request.path.code', 14, /string has no fields/],
  ['request.headers[1]', 17, /expected string, found int/],
  ['request.path.frob("x")', 14, /unknown function frob; there are startsWith,/],
  ['frob(1)', 1, /unknown function frob/],
  ['request.path.startsWith(1)', 25, /startsWith takes string here, not int/],
  ['request.path.startsWith("a", "b")', 14, /takes 1 argument/],
  ['startsWith(request.path, "a")', 1, /is a method/],
  ['response.code.string()', 15, /is no method/],
  ['request.path.matches(request.host)', 22, /must be a literal/],
  ['request.path.matches("(?=a)")', 22, /not an RE2 pattern/],
  ['[1].all(x, x > 0)', 5, /macro all is not supported/],
  ['{"a": 1}', 1, /map literals are not supported/],
  ['has(request.headers["a"] + "b")', 1, /has takes a field/],
  ['has(1)', 1, /has takes a field/],
  ['1 in 2', 3, /in takes a list or a map/],
  ['1 in ["a"]', 7, /cannot compare/],
  ['duration("soon")', 10, /is no duration/],
  ['timestamp(request.path)', 1, /takes one literal text/],
  ["'open", 1, /not closed/],
  [String.raw`'\q'`, 2, /unknown escape/],
  ['1 2', 3, /unexpected "2"/],
  ['(1', 3, /expected \), found the end/],
  ['#', 1, /unexpected "#"/],
  ['99999999999999999999', 1, /too large/],
  [`${'('.repeat(101)}1`, 101, /nested too deep/],
  [`${'!'.repeat(150)}true`, 100, /nested too deep/],
  [' '.repeat(4097), 4097, /longer than 4096/],
]

describe('what is refused', () => {
  for (const [text, column, message] of REFUSED)
    test(text.slice(0, 40), () => {
      assert.throws(
        () => parseCel(text),
        (error) => error instanceof CelError && message.test(error.message) && error.column === column,
        text,
      )
    })
})

test('any text either parses or is refused with a column inside it; what parses can be evaluated', () => {
  const words = fc.constantFrom(
    ...[
      'request.path',
      'response.code',
      '400',
      "'x'",
      '(',
      ')',
      '&&',
      '||',
      '!',
      '==',
      '<',
      'in',
      '[',
      ']',
      ',',
      '?',
      ':',
    ],
    ...['true', 'has', 'size', '.', 'matches', '+', '-', '%', 'request.headers', 'null', '"', '\\'],
  )
  const texts = fc.oneof(
    fc.array(words, { maxLength: 12 }).map((list) => list.join(' ')),
    fc.string({ maxLength: 30, unit: 'binary' }),
  )
  fc.assert(
    fc.property(texts, (text) => {
      try {
        const run = compileCel(parseCel(text), READERS)
        for (const subject of [{}, REQUEST]) run(subject)
      } catch (error) {
        assert.ok(error instanceof CelError, String(error))
        assert.ok(error.column >= 1 && error.column <= text.length + 1)
      }
    }),
    { numRuns: 500 },
  )
})

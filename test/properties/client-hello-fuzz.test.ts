/**
 * ClientHellos and authorities from bytes nobody meant (issue 3, "done when"): no crash, no growth, and the same answer
 * however the bytes are cut. FUZZ_INPUTS=1000000 runs that many of each instead of stopping after FUZZ_MS.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { canonicalSni, parseAuthority } from '../../src/core/authority.ts'
import {
  type ClientHello,
  ClientHelloReader,
  MAX_CLIENT_HELLO,
  readClientHello,
} from '../../src/listeners/client-hello.ts'
import { firstBytesReader } from '../../src/listeners/first-bytes.ts'
import { collectGarbage } from '../../src/testing/garbage.ts'
import { buildHello, serverNames } from '../../src/testing/hello.ts'

/** Each of two; a minute in all in CI. */
const FUZZ_MS = process.env['CI'] === 'true' ? 30_000 : 8_000
const inputs = Number(process.env['FUZZ_INPUTS'] ?? 0)
const MB = 1 << 20

/** mulberry32: the seed is in every failure's message. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed >>> 0
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0
    let z = Math.imul(state ^ (state >>> 15), state | 1)
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61)
    return ((z ^ (z >>> 14)) >>> 0) % below
  }
}

type Random = ReturnType<typeof randomFrom>

/** Inputs after which whatever is kept for good is there. */
const WARM = 5_000

/** Runs `one` on seeds 1, 2, 3 … and asserts that nothing stays behind. */
function fuzz(one: (random: Random) => void): number {
  const until = performance.now() + FUZZ_MS
  let done = 0
  let warm = 0
  // On a busy machine as many as it takes to speak of growth.
  for (; inputs > 0 ? done < inputs : performance.now() < until || done < 2 * WARM; done++) {
    try {
      one(randomFrom(done + 1))
    } catch (error) {
      throw new Error(`seed ${done + 1}`, { cause: error })
    }
    if (done === WARM) warm = held()
  }
  assert.ok(warm > 0, `only ${done} inputs: too few to speak of growth`)
  const grown = held() - warm
  assert.ok(grown < 8 * MB, `${grown} bytes more after ${done} inputs than after ${WARM}`)
  return done
}

function held(): number {
  collectGarbage()
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}

const NAMES = ['a.example', 'EDITION.cnn.com.', '127.0.0.1', '', 'x'.repeat(300), 'a..b', 'b\0c', '*.a.example', '\xff']

function someHello(random: Random): Buffer {
  const names = Array.from({ length: [1, 1, 1, 0, 2][random(5)] ?? 1 }, () => NAMES[random(NAMES.length)] ?? '')
  const extensions: [number, Buffer][] = []
  if (random(3) === 0) extensions.push([16, Buffer.from([0, 6, 5, ...Buffer.from('istio')])])
  if (random(8) === 0) extensions.push([0, serverNames([NAMES[random(NAMES.length)] ?? ''])])
  if (random(8) === 0) extensions.push([random(65536), Buffer.alloc(random(2000), random(256))])
  const recordSize = [16384, 16384, 1 + random(40), 1][random(4)] ?? 1
  const bytes = buildHello({ names, extensions, recordSize })
  for (let edits = random(5); edits > 0; edits--) bytes[random(Math.min(bytes.length, 400))] = random(256)
  const kind = random(8)
  if (kind === 0) return bytes.subarray(0, random(bytes.length))
  if (kind === 1) return Buffer.concat([bytes, Buffer.alloc(random(50), 0x16)])
  if (kind === 2) return Buffer.from(Array.from({ length: random(60) }, (_, i) => (i === 0 ? 0x16 : random(256))))
  return bytes
}

/** In pieces of random size, each in a buffer that is overwritten afterwards, as a pooled one may be. */
function inPieces<T>(bytes: Buffer, random: Random, push: (piece: Buffer) => T | null): T | null {
  const largest = [1, 7, 300, bytes.length][random(4)] ?? 1
  let answer: T | null = null
  for (let at = 0; at < bytes.length && answer === null; ) {
    const size = 1 + random(Math.max(1, largest))
    const piece = Buffer.from(bytes.subarray(at, at + size))
    answer = push(piece)
    piece.fill(0xaa)
    at += size
  }
  return answer
}

test('threat 33: ClientHellos: no crash, no growth, the same answer however they are cut', (t) => {
  const kinds: Record<ClientHello['kind'], number> = { found: 0, incomplete: 0, invalid: 0 }
  const done = fuzz((random) => {
    const bytes = someHello(random)
    const whole = readClientHello(bytes)
    kinds[whole.kind]++
    if (whole.kind === 'found' && whole.sni !== null) {
      assert.equal(canonicalSni(whole.sni), whole.sni)
      assert.deepEqual(readClientHello(buildHello({ names: [whole.sni] })), { ...whole, alpn: [] })
    }
    const reader = new ClientHelloReader()
    const pushed = inPieces(bytes, random, (piece) => {
      const answer = reader.push(piece)
      return answer.kind === 'incomplete' ? null : answer
    })
    assert.deepEqual(pushed ?? { kind: 'incomplete' }, whole)
    for (const opaque of [true, false]) {
      const first = firstBytesReader(opaque)(bytes)
      assert.deepEqual(inPieces(bytes, random, firstBytesReader(opaque)), first)
    }
  })
  t.diagnostic(`${done} inputs: ${JSON.stringify(kinds)}`)
  for (const [kind, count] of Object.entries(kinds)) assert.ok(count > done / 50, `${kind}: ${count} of ${done}`)
})

test('a hello sent byte by byte in records of one byte costs what its bytes cost', () => {
  const bytes = buildHello({ names: ['a.example'], extensions: [[21, Buffer.alloc(10_000)]], recordSize: 1 })
  assert.ok(bytes.length < MAX_CLIENT_HELLO)
  const reader = new ClientHelloReader()
  const before = process.cpuUsage()
  let answer: ClientHello = { kind: 'incomplete' }
  for (let at = 0; at < bytes.length; at++) answer = reader.push(bytes.subarray(at, at + 1))
  assert.deepEqual(answer, { kind: 'found', sni: 'a.example', alpn: [] })
  const { user, system } = process.cpuUsage(before)
  assert.ok(user + system < 1_000_000, `${(user + system) / 1000} ms: reading again from the start would take seconds`)
})

const PARTS = [
  ...['a', 'A', 'z9', '-', '_', '.', '..', ':', '[', ']', '::', '1', '127', '0x7f', '0', '80', '65536', '%', '@', '/'],
  ...['\\', '#', '?', ' ', '\t', '\0', '\r\n', '\xe9', '\u3002', '\uff0e', '\u212a', 'xn--', 'com', 'example', 'ffff'],
]

test('threat 20: authorities: no crash, no growth, one canonical text that means itself', (t) => {
  let accepted = 0
  const done = fuzz((random) => {
    let text = Array.from({ length: 1 + random(9) }, () => PARTS[random(PARTS.length)] ?? '').join('')
    if (random(3) === 0) text = `${['www.example.com', '[::1]', '10.0.0.1', 'a.b'][random(4)]}${text}`
    if (random(4) === 0) text += `:${random(70000)}`
    const parsed = parseAuthority(text)
    if (parsed === null) return
    accepted++
    assert.match(parsed.text, /^(?:[a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::[1-9][0-9]*)?$/)
    assert.deepEqual(parseAuthority(parsed.text), parsed)
    assert.deepEqual(parseAuthority(text.toUpperCase()), parsed)
    assert.ok(parsed.port === null || (parsed.port >= 1 && parsed.port <= 65535))
    // Nothing may be dropped but case and one dot.
    assert.equal(text.toLowerCase().replace(/\.(?=:[0-9]+$|$)/, ''), parsed.text)
  })
  t.diagnostic(`${done} inputs, ${accepted} accepted`)
  assert.ok(accepted > done / 100, `${accepted} of ${done}`)
})

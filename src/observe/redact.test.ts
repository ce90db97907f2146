/** Secrets do not survive; what operators need does. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { redact, redactText } from './redact.ts'

const KEY = '-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----\n'

describe('redact', () => {
  test('private keys go wherever they stand, certificates stay', () => {
    const certificate = '-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----'
    const shown = JSON.stringify(redact({ a: [`${certificate}\n${KEY}`], b: new Map([['k', KEY]]), c: new Error(KEY) }))
    assert.doesNotMatch(shown, /MHcCAQEE/)
    assert.match(shown, /BEGIN CERTIFICATE/)
    assert.doesNotMatch(redactText('-----BEGIN PRIVATE KEY-----\nMHcCAQEE and no end'), /MHcCAQEE/)
  })

  test('values under secret names go, in objects and in header pairs; paths and names stay', () => {
    assert.deepEqual(
      redact({
        password: 'x',
        redisPassword: 'x',
        'x-api-key': 'x',
        headers: {
          set: [
            ['Authorization', 'Bearer x'],
            ['x-team', 'blue'],
          ],
        },
        privateKey: '/etc/certs/key.pem',
        secretsDirectory: '/etc/secrets',
        token: null,
        nested: { cookie: { a: 'x' } },
      }),
      {
        password: '[redacted]',
        redisPassword: '[redacted]',
        'x-api-key': '[redacted]',
        headers: {
          set: [
            ['Authorization', '[redacted]'],
            ['x-team', 'blue'],
          ],
        },
        privateKey: '/etc/certs/key.pem',
        secretsDirectory: '/etc/secrets',
        token: null,
        nested: { cookie: '[redacted]' },
      },
    )
  })

  test('passwords in URLs go', () => {
    assert.equal(
      redactText('connect redis://user:hunter2@host:6379/0 failed'),
      'connect redis://user:[redacted]@host:6379/0 failed',
    )
  })

  test('cycles, buffers, dates and big integers do not break a dump', () => {
    const cycle: Record<string, unknown> = { buffer: Buffer.from('secret'), at: new Date(0), n: 10n, set: new Set([1]) }
    cycle['self'] = cycle
    assert.deepEqual(redact(cycle), {
      buffer: '[6 bytes]',
      at: '1970-01-01T00:00:00.000Z',
      n: '10',
      set: [1],
      self: '[…]',
    })
  })

  test('the same object twice is shown twice, and input is not changed', () => {
    const shared = { token: 'x' }
    assert.deepEqual(redact([shared, shared]), [{ token: '[redacted]' }, { token: '[redacted]' }])
    assert.equal(shared.token, 'x')
  })
})

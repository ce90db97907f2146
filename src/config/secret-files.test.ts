import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, test } from 'node:test'
import { secretFiles } from './secret-files.ts'

const root = mkdtempSync(join(tmpdir(), 'sallyport-secrets-'))
after(() => rmSync(root, { recursive: true, force: true }))

/** A directory of secrets with these files in it. */
function secrets(...paths: readonly string[]): string {
  const dir = mkdtempSync(join(root, 'd'))
  for (const path of paths) {
    mkdirSync(dirname(join(dir, path)), { recursive: true })
    writeFileSync(join(dir, path), '')
  }
  return dir
}

function found(dir: string): readonly (string | null)[] {
  const { pair, ca, crl } = secretFiles(dir, 's')
  return [pair.certificateChain, pair.privateKey, ca, crl].map((path) => path?.slice(dir.length + 1) ?? null)
}

test('what is missing is named as a TLS secret names it', () => {
  assert.deepEqual(found(secrets()), ['s/tls.crt', 's/tls.key', 's/ca.crt', null])
})
test('keys of TLS secrets, and Istio’s generic ones', () => {
  assert.deepEqual(found(secrets('s/tls.crt', 's/tls.key', 's/ca.crt', 's/ca.crl')), [
    's/tls.crt',
    's/tls.key',
    's/ca.crt',
    's/ca.crl',
  ])
  assert.deepEqual(found(secrets('s/cert', 's/key', 's/cacert', 's/crl')), ['s/cert', 's/key', 's/cacert', 's/crl'])
  assert.deepEqual(found(secrets('s/ca.crt', 's/cacert')).slice(2), ['s/ca.crt', null])
})
test('a CA in a secret of its own goes first; a revocation list counts wherever it is', () => {
  assert.deepEqual(found(secrets('s/tls.crt', 's/tls.key', 's/ca.crt', 's/ca.crl', 's-cacert/cacert')), [
    's/tls.crt',
    's/tls.key',
    's-cacert/cacert',
    's/ca.crl',
  ])
  assert.deepEqual(found(secrets('s-cacert/ca.crt', 's-cacert/ca.crl')).slice(2), [
    's-cacert/ca.crt',
    's-cacert/ca.crl',
  ])
  assert.deepEqual(found(secrets('s-cacert/ca.crl', 's/ca.crt')).slice(2), ['s/ca.crt', null])
})

import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, beforeEach, describe, it } from 'node:test'
import * as tls from 'node:tls'
import { readCertificate } from '../identity/certificate.ts'
import { certs } from './certs.ts'

const GATEWAY = 'spiffe://cluster.local/ns/istio-system/sa/istio-egressgateway-service-account'
let root: string
let dir: string
let runs = 0

type Run = { readonly code: number; readonly out: string; readonly err: string }

async function run(...argv: string[]): Promise<Run> {
  let [out, err] = ['', '']
  const code = await certs(argv, {
    stdout: { write: (text) => (out += text) },
    stderr: { write: (text) => (err += text) },
  })
  return { code, out, err }
}

async function succeed(...argv: string[]): Promise<string> {
  const { code, out, err } = await run(...argv)
  assert.equal(err, '')
  assert.equal(code, 0)
  return out
}

function mode(path: string): number {
  return statSync(path).mode & 0o777
}

function leafOf(path: string): X509Certificate {
  return new X509Certificate(readFileSync(path))
}

before(() => {
  root = mkdtempSync(join(tmpdir(), 'sallyport-certs-'))
})
after(() => rmSync(root, { recursive: true, force: true }))
beforeEach(() => {
  dir = join(root, String(runs++))
})

describe('certs init', () => {
  it('makes a CA of the trust domain; its key is for the owner only', async () => {
    const out = await succeed('init', '--dir', dir, '--trust-domain', 'Mesh.Example')
    const ca = leafOf(join(dir, 'root-cert.pem'))
    assert.equal(ca.ca, true)
    assert.equal(ca.verify(ca.publicKey), true)
    const reading = readCertificate(ca.raw)
    assert.ok(reading.kind === 'read')
    assert.deepEqual(reading.facts.uriSans, ['spiffe://mesh.example'])
    assert.equal(mode(join(dir, 'ca-key.pem')), 0o600)
    assert.deepEqual(readdirSync(dir).toSorted(), ['ca-key.pem', 'root-cert.pem'])
    assert.match(out, /certs issue --spiffe spiffe:\/\/mesh\.example\//)
    assert.equal(out.includes('PRIVATE KEY'), false)
  })

  it('keeps an existing CA unless forced', async () => {
    await succeed('init', '--dir', dir)
    const first = readFileSync(join(dir, 'root-cert.pem'), 'utf8')
    const again = await run('init', '--dir', dir)
    assert.equal(again.code, 1)
    assert.match(again.err, /exists; --force/)
    assert.equal(readFileSync(join(dir, 'root-cert.pem'), 'utf8'), first)
    await succeed('init', '--dir', dir, '--force')
    assert.notEqual(readFileSync(join(dir, 'root-cert.pem'), 'utf8'), first)
  })

  for (const domain of ['', 'a/b', 'a b', 'a:1', 'a?x'])
    it(`refuses trust domain ${JSON.stringify(domain)}`, async () => {
      const { code, err } = await run('init', '--dir', dir, '--trust-domain', domain)
      assert.equal(code, 2)
      assert.match(err, /--trust-domain/)
      assert.equal(existsSync(dir), false)
    })
})

describe('certs issue', () => {
  it('writes an SVID as Istio’s agent lays it out, with the DNS names of the service', async () => {
    await succeed('init', '--dir', dir)
    const before = Date.now()
    const out = await succeed('issue', '--spiffe', GATEWAY, '--dns', 'localhost', '--dir', dir)
    const folder = join(dir, 'istio-system-istio-egressgateway-service-account')
    assert.deepEqual(readdirSync(folder).toSorted(), ['cert-chain.pem', 'key.pem', 'root-cert.pem'])
    assert.equal(mode(join(folder, 'key.pem')), 0o600)
    assert.equal(readFileSync(join(folder, 'root-cert.pem'), 'utf8'), readFileSync(join(dir, 'root-cert.pem'), 'utf8'))
    const reading = readCertificate(leafOf(join(folder, 'cert-chain.pem')).raw)
    assert.ok(reading.kind === 'read')
    assert.deepEqual(reading.facts.uriSans, [GATEWAY])
    assert.deepEqual(reading.facts.dnsSans, [
      'istio-egressgateway-service-account.istio-system.svc.cluster.local',
      'istio-egressgateway.istio-system.svc.cluster.local',
      'localhost',
    ])
    assert.deepEqual(reading.svidViolations, [])
    assert.equal(reading.facts.subject, '')
    const day = 24 * 3_600_000
    assert.ok(Math.abs(reading.facts.notAfter - (before + day)) < 60_000)
    assert.ok(reading.facts.notBefore <= before - 119_000)
    assert.match(out, /curl --cert /)
    assert.match(out, /--connect-to istio-egressgateway\.istio-system\.svc\.cluster\.local:80:127\.0\.0\.1:8080/)
  })

  it('gives certificates that a real mutual handshake accepts on both sides', async () => {
    await succeed('init', '--dir', dir)
    await succeed('issue', '--spiffe', GATEWAY, '--dir', dir, '--out', join(dir, 'gateway'))
    await succeed(
      'issue',
      '--spiffe',
      'spiffe://cluster.local/ns/default/sa/sleep',
      '--dir',
      dir,
      '--out',
      join(dir, 'sleep'),
    )
    const material = (name: string) => ({
      cert: readFileSync(join(dir, name, 'cert-chain.pem')),
      key: readFileSync(join(dir, name, 'key.pem')),
      ca: readFileSync(join(dir, name, 'root-cert.pem')),
    })
    const server = tls.createServer({ ...material('gateway'), requestCert: true, rejectUnauthorized: true }, (socket) =>
      socket.end('.'),
    )
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const servername = 'istio-egressgateway.istio-system.svc.cluster.local'
    const socket = tls.connect({ ...material('sleep'), host: '127.0.0.1', port, servername })
    const [data] = (await once(socket, 'data')) as [Buffer]
    assert.equal(data.toString(), '.')
    assert.equal(socket.authorized, true)
    socket.destroy()
    server.close()
  })

  it('renews an SVID, but never replaces that of another identity unasked', async () => {
    await succeed('init', '--dir', dir)
    const issue = (id: string, ...more: string[]) => run('issue', '--spiffe', id, '--dir', dir, ...more)
    const chain = join(dir, 'a-b-c', 'cert-chain.pem')
    assert.equal((await issue('spiffe://cluster.local/ns/a-b/sa/c')).code, 0)
    const first = leafOf(chain).serialNumber
    assert.equal((await issue('spiffe://cluster.local/ns/a-b/sa/c')).code, 0)
    assert.notEqual(leafOf(chain).serialNumber, first)
    const other = await issue('spiffe://cluster.local/ns/a/sa/b-c')
    assert.equal(other.code, 1)
    assert.match(other.err, /belongs to spiffe:\/\/cluster\.local\/ns\/a-b\/sa\/c/)
    assert.equal((await issue('spiffe://cluster.local/ns/a/sa/b-c', '--force')).code, 0)
  })

  it('takes IDs of any form', async () => {
    await succeed('init', '--dir', dir)
    await succeed('issue', '--spiffe', 'spiffe://cluster.local/batch/job-1', '--dir', dir, '--ttl', '1h30m')
    const reading = readCertificate(leafOf(join(dir, 'batch-job-1', 'cert-chain.pem')).raw)
    assert.ok(reading.kind === 'read')
    assert.deepEqual(reading.facts.dnsSans, [])
    assert.ok(Math.abs(reading.facts.notAfter - Date.now() - 5_400_000) < 60_000)
  })

  it('needs a CA, and one of the same trust domain', async () => {
    const none = await run('issue', '--spiffe', GATEWAY, '--dir', dir)
    assert.equal(none.code, 1)
    assert.match(none.err, /no CA in .*certs init/)
    await succeed('init', '--dir', dir, '--trust-domain', 'other.example')
    const foreign = await run('issue', '--spiffe', GATEWAY, '--dir', dir)
    assert.equal(foreign.code, 1)
    assert.match(foreign.err, /is for other\.example/)
  })

  it('does not outlive its CA', async () => {
    await succeed('init', '--dir', dir)
    const { code, err } = await run('issue', '--spiffe', GATEWAY, '--dir', dir, '--ttl', '100000h')
    assert.equal(code, 1)
    assert.match(err, /shorter --ttl/)
  })

  for (const [what, argv] of [
    ['no ID', []],
    ['an ID that is none', ['--spiffe', 'https://cluster.local/x']],
    ['an ID with a traversal', ['--spiffe', 'spiffe://cluster.local/ns/../sa/x']],
    ['a trust domain alone', ['--spiffe', 'spiffe://cluster.local']],
    ['a bad DNS name', ['--spiffe', GATEWAY, '--dns', 'a b']],
    ['a bad duration', ['--spiffe', GATEWAY, '--ttl', '1 day']],
    ['no duration', ['--spiffe', GATEWAY, '--ttl', '']],
    ['a duration of nothing', ['--spiffe', GATEWAY, '--ttl', '0h']],
    ['an unknown option', ['--spiffe', GATEWAY, '--spifee', 'x']],
    ['an operand', ['--spiffe', GATEWAY, 'x']],
  ] as const)
    it(`refuses ${what} with the usage`, async () => {
      await succeed('init', '--dir', dir)
      const { code, err, out } = await run('issue', ...argv, '--dir', dir)
      assert.equal(code, 2)
      assert.match(err, /usage: sallyport certs/)
      assert.equal(out, '')
      assert.deepEqual(readdirSync(dir).toSorted(), ['ca-key.pem', 'root-cert.pem'])
    })
})

describe('certs', () => {
  it('shows the usage', async () => {
    const help = await run('--help')
    assert.equal(help.code, 0)
    assert.match(help.out, /certs issue/)
    for (const argv of [[], ['mint']]) assert.equal((await run(...argv)).code, 2)
  })

  it('reports a folder that cannot be made', async () => {
    await succeed('init', '--dir', dir)
    const { code, err } = await run('init', '--dir', join(dir, 'root-cert.pem', 'x'))
    assert.equal(code, 1)
    assert.match(err, /ENOTDIR|EEXIST/)
  })
})

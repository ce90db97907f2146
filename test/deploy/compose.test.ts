/**
 * docker-compose.yml against the compose schema, against Debian's docker-compose, and against the files it mounts: names, ports
 * and paths agree. No container is started here; test/deploy/demo.test.ts plays the demo's parts on loopback.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, it } from 'node:test'
import { GATEWAY_NAME as LOADTEST_GATEWAY } from '../../loadtest/mix.js'
import { readBootstrap } from '../../src/config/bootstrap.ts'
import {
  aliases,
  COMPOSE,
  ENVOY,
  endpointOf,
  mountsOf,
  networksOf,
  ROOT,
  readYaml,
  type Service,
  service,
} from './compose-file.ts'
import { misfits } from './yaml-schemas.ts'

const SERVICES = Object.entries(COMPOSE.services)
const PROFILES = ['demo', 'observability', 'load'] as const
const GATEWAY_NAME = 'istio-egressgateway.istio-system.svc.cluster.local'
const BOOTSTRAP = path.join(ROOT, 'compose/gateway/gateway.yaml')
const { settings } = readBootstrap(BOOTSTRAP, { display: (file) => file }, (code, _, message) =>
  assert.fail(`${code} ${message}`),
)

describe('docker-compose.yml', () => {
  it('fits the compose specification’s schema, which refuses what does not', () => {
    assert.deepEqual(misfits('compose', COMPOSE), [])
    assert.notDeepEqual(misfits('compose', { services: { a: { imagee: 'x' } } }), [])
  })

  const probe = spawnSync('docker-compose', ['version'], { encoding: 'utf8' })
  const skip = probe.error === undefined ? false : 'docker-compose is not installed (apt-get install docker-compose)'
  it('is read by docker-compose', { skip }, () => {
    const { status, stdout, stderr } = spawnSync('docker-compose', ['config', '--services'], {
      cwd: ROOT,
      encoding: 'utf8',
    })
    assert.equal(status, 0, stderr)
    assert.deepEqual(stdout.trim().split('\n').toSorted(), SERVICES.map(([name]) => name).toSorted())
  })

  it('has services in every profile, and no other profiles', () => {
    assert.deepEqual(
      [...new Set(SERVICES.flatMap(([, { profiles = [] }]) => profiles))].toSorted(),
      [...PROFILES].toSorted(),
    )
  })

  for (const [name, each] of SERVICES) {
    it(`${name}: pinned image, no privileges, nothing writable but its volumes`, () => {
      assert.match(each.image, /^[a-z0-9./-]+:v?\d+\.\d+\.\d+(-[a-z0-9]+)?$/)
      assert.equal(each.read_only, true)
      assert.deepEqual(each.cap_drop, ['ALL'])
      // Only the one-shot that gives files away is root, and it has no network.
      if (name === 'certs') assert.equal(each.network_mode, 'none')
      else assert.doesNotMatch(each.user, /^0(:|$)/)
    })

    it(`${name}: what it mounts exists, and what it waits for starts with it`, () => {
      for (const { source, mode } of mountsOf(each))
        if (source.startsWith('.')) {
          assert.ok(existsSync(path.join(ROOT, source)), source)
          assert.equal(mode, 'ro', source)
        } else assert.ok(source in COMPOSE.volumes, source)
      const others = Array.isArray(each.depends_on) ? (each.depends_on as string[]) : Object.keys(each.depends_on ?? {})
      for (const other of others) {
        const theirs = service(other).profiles
        assert.ok(theirs === undefined || each.profiles?.every((profile) => theirs.includes(profile)) === true, other)
      }
    })
  }

  it('the image is ours, in the version of package.json', () => {
    const { version } = readYaml('package.json') as { readonly version: string }
    for (const name of ['certs', 'gateway']) {
      assert.equal(service(name).image, `sallyport:${version}`)
      assert.equal(service(name).build, '.')
    }
  })
})

describe('who reaches whom', () => {
  const on = (network: string) =>
    SERVICES.filter(([, each]) => networksOf(each).includes(network)).map(([name]) => name)

  it('applications are on a network without a way out, and on no other', () => {
    assert.equal(COMPOSE.networks['mesh']?.internal, true)
    for (const name of ['app-allowed', 'app-refused']) assert.deepEqual(networksOf(service(name)), ['mesh'])
  })

  it('the gateway is the only one on both sides', () => {
    assert.deepEqual(
      on('mesh').filter((name) => on('outside').includes(name)),
      ['gateway'],
    )
    assert.ok(!on('monitoring').some((name) => name.startsWith('app-')))
  })

  it('Redis is on a network with the gateway alone, without a way out, under the name the bootstrap has', () => {
    assert.equal(COMPOSE.networks['shared']?.internal, true)
    assert.deepEqual(on('shared').toSorted(), ['gateway', 'redis'])
    assert.deepEqual(networksOf(service('redis')), ['shared'])
    assert.deepEqual(settings?.redis?.nodes, [{ host: 'redis', port: 6379 }])
  })

  it('each workload has a sidecar in its own network, with its own certificate alone', () => {
    for (const who of ['allowed', 'refused']) {
      const sidecar = service(`envoy-${who}`)
      assert.equal(sidecar.network_mode, `service:app-${who}`)
      assert.deepEqual(secretsOf(sidecar), [`certs-${who}`])
      assert.deepEqual(secretsOf(service(`app-${who}`)), [])
    }
    for (const [name, each] of SERVICES) if (name !== 'certs') assert.ok(!secretsOf(each).includes('certs-ca'), name)
  })

  it('nothing is published but on loopback', () => {
    for (const [, { ports = [] }] of SERVICES) for (const port of ports) assert.match(port, /^127\.0\.0\.1:/)
  })
})

describe('names, ports and paths agree', () => {
  it('sidecars dial ports that the gateway binds, under a name it has, and expect the identity it gets', () => {
    assert.ok(settings !== null)
    assert.deepEqual(aliases('gateway', 'mesh'), [GATEWAY_NAME])
    const identity = identities().find(({ folder }) => folder === 'gateway')?.id
    for (const cluster of ENVOY.static_resources.clusters) {
      const [, gatewayPort = ''] = cluster.name.split('|')
      const { address, port_value } = endpointOf(cluster)
      const tls = cluster.transport_socket.typed_config
      assert.equal(address, GATEWAY_NAME)
      assert.equal(port_value, settings.ports.find((each) => each.gatewayPort === Number(gatewayPort))?.bindPort)
      assert.equal(tls.sni, `outbound_.${gatewayPort}_._.${GATEWAY_NAME}`)
      assert.equal(tls.common_tls_context.validation_context.match_typed_subject_alt_names[0].matcher.exact, identity)
    }
    const names = JSON.stringify(ENVOY).match(/"cluster":"[^"]+"/g)
    assert.deepEqual(
      names,
      ENVOY.static_resources.clusters.map(({ name }) => `"cluster":"${name}"`),
    )
  })

  it('applications find every site at their sidecar', () => {
    const sites = aliases('outside', 'outside')
    const toSidecar = (service('app-allowed').extra_hosts ?? []).map((each) => each.split(':'))
    for (const [, address] of toSidecar) assert.equal(address, '127.0.0.1')
    assert.deepEqual(
      toSidecar.map(([name]) => name),
      [...sites, 'unregistered.example'],
    )
    for (const { address } of ENVOY.static_resources.listeners)
      assert.equal(address.socket_address.address, '127.0.0.1')
  })

  it('every certificate has a volume, and every volume a certificate', () => {
    const volumes = Object.keys(COMPOSE.volumes).filter((name) => name.startsWith('certs-'))
    const folders = [...identities().map(({ folder }) => folder), 'ca', 'trust']
    assert.deepEqual(volumes.toSorted(), folders.map((folder) => `certs-${folder}`).toSorted())
    const mounted = mountsOf(service('certs')).filter(({ source }) => source.startsWith('certs-'))
    for (const { source, target } of mounted) assert.equal(target, source.replace('certs-', '/certs/'))
  })

  it('the gateway may dial the pretended Internet and nothing else inside', () => {
    assert.deepEqual(
      settings?.addressGuard.allow,
      COMPOSE.networks['outside']?.ipam?.config.map(({ subnet }) => subnet),
    )
  })

  it('what the gateway and its health check start is in the image, and reads what is mounted', () => {
    const dockerfile = readFileSync(path.join(ROOT, 'Dockerfile'), 'utf8')
    const words = (pattern: RegExp) => JSON.parse(pattern.exec(dockerfile)?.[1] ?? '[]') as string[]
    assert.deepEqual(service('gateway').healthcheck?.test, ['CMD', ...words(/^ {2}CMD (\[.*\])$/m)])
    const [, , file = ''] = service('gateway').command ?? words(/^CMD (\[.*\])$/m)
    const mounts = mountsOf(service('gateway'))
    const source = (inContainer: string) =>
      mounts.find(({ target }) => target === path.posix.dirname(inContainer))?.source ?? assert.fail(inContainer)
    assert.equal(path.join(ROOT, source(file), path.posix.basename(file)), BOOTSTRAP)
    assert.ok(settings !== null)
    for (const each of Object.values(settings.identity))
      if (typeof each === 'string' && each !== '') assert.equal(source(each), 'certs-gateway', each)
    for (const name of readdirSync(path.join(ROOT, 'compose/gateway/resources'))) {
      const text = readFileSync(path.join(ROOT, 'compose/gateway/resources', name), 'utf8')
      for (const [each] of text.matchAll(/\/etc\/[\w./-]+/g)) assert.equal(source(each), 'certs-trust', each)
    }
  })

  it('sidecars and the pretended Internet find their certificates', () => {
    for (const [name, file, owner] of [
      ['envoy-allowed', 'compose/envoy.yaml', 'certs-allowed'],
      ['envoy-refused', 'compose/envoy.yaml', 'certs-refused'],
      ['outside', 'compose/nginx.conf', 'certs-outside'],
    ] as const) {
      const paths = [...readFileSync(path.join(ROOT, file), 'utf8').matchAll(/\/etc\/certs[\w./-]*/g)].map(
        ([each]) => each,
      )
      assert.ok(paths.length >= 2)
      const mounts = mountsOf(service(name))
      assert.equal(mounts.find(({ source }) => source === owner)?.target, '/etc/certs', name)
      assert.ok(mounts.some(({ source }) => source === `./${file}`))
    }
  })

  it('the gateway may drain before it is killed', () => {
    assert.ok(settings !== null)
    assert.ok(Number.parseInt(service('gateway').stop_grace_period ?? '', 10) * 1000 > settings.drainDurationMs)
  })

  it('Prometheus scrapes the gateway, Grafana asks Prometheus', () => {
    const prometheus = readYaml('compose/prometheus.yml') as {
      readonly rule_files: readonly string[]
      readonly scrape_configs: readonly {
        readonly metrics_path: string
        readonly static_configs: readonly { readonly targets: readonly string[] }[]
      }[]
    }
    assert.deepEqual(
      prometheus.scrape_configs.map(({ metrics_path, static_configs }) => [metrics_path, static_configs[0]?.targets]),
      [['/stats/prometheus', [`gateway:${settings?.metrics.port}`]]],
    )
    const inPrometheus = mountsOf(service('prometheus')).map(({ target }) => target)
    for (const file of prometheus.rule_files) assert.ok(inPrometheus.includes(file), file)
    const grafana = readYaml('compose/grafana/datasources/prometheus.yaml') as {
      readonly datasources: readonly { readonly url: string }[]
    }
    assert.equal(grafana.datasources[0]?.url, 'http://prometheus:9090')
    const dashboards = readYaml('compose/grafana/dashboards/sallyport.yaml') as {
      readonly providers: readonly { readonly options: { readonly path: string } }[]
    }
    const folder = dashboards.providers[0]?.options.path ?? ''
    assert.ok(mountsOf(service('grafana')).some(({ target }) => path.dirname(target) === folder))
    for (const name of ['prometheus', 'grafana']) assert.ok(networksOf(service(name)).includes('monitoring'))
  })

  it('k6 shows the certificate of the workload it says it is, to the gateway’s name and port', () => {
    for (const [name, who] of [
      ['k6', 'allowed'],
      ['k6-refused', 'refused'],
    ] as const) {
      const k6 = service(name)
      assert.equal(k6.environment?.['IDENTITY'], who)
      assert.deepEqual(secretsOf(k6), [`certs-${who}`])
      assert.ok(mountsOf(k6).some(({ target }) => target === k6.environment?.['CERTS']))
      assert.deepEqual(networksOf(k6), ['mesh'])
      const [, script = ''] = k6.command ?? []
      assert.ok(existsSync(path.join(ROOT, script)), script)
    }
    const [, port] =
      /`\$\{GATEWAY_NAME\}:(\d+)`/.exec(readFileSync(path.join(ROOT, 'loadtest/lib/run.js'), 'utf8')) ?? []
    assert.equal(Number(port), settings?.ports.find(({ gatewayPort }) => gatewayPort === 80)?.bindPort)
    assert.equal(LOADTEST_GATEWAY, aliases('gateway', 'mesh')[0])
  })

  const promtool = spawnSync('promtool', ['--version']).error === undefined ? false : 'promtool is not installed'
  it('promtool takes Prometheus’ configuration', { skip: promtool }, () => {
    const file = path.join(ROOT, 'compose/prometheus.yml')
    const { status, stderr } = spawnSync('promtool', ['check', 'config', '--syntax-only', file], { encoding: 'utf8' })
    assert.equal(status, 0, stderr)
  })
})

const secretsOf = (each: Service) =>
  mountsOf(each)
    .map(({ source }) => source)
    .filter((source) => source.startsWith('certs-') && source !== 'certs-trust')

function identities(): { readonly folder: string; readonly id: string }[] {
  return readFileSync(path.join(ROOT, 'compose/identities.txt'), 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => {
      const [folder = '', id = ''] = line.split(' ')
      return { folder, id }
    })
}

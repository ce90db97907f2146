/** The manifests agree with the program and with each other: ports, paths, labels, files, names, times. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, test } from 'node:test'
import { loadConfiguration } from '../../src/config/load.ts'
import { VERSION } from '../../src/core/version.ts'
import type { Settings } from '../../src/model/settings.ts'
import {
  INSTALLABLE,
  type Installation,
  installation,
  NAME,
  portOf,
  ROOT,
  type Selector,
  selects,
} from './installation.ts'

/** The settings that the mounted bootstrap file stands for, unchanged, with the resources mounted beside it. */
function settingsOf({ configMap }: Installation): Settings {
  const dir = mkdtempSync(path.join(tmpdir(), 'sallyport-k8s-'))
  try {
    for (const name of ['config', 'resources']) {
      mkdirSync(path.join(dir, name))
      for (const [file, text] of Object.entries(configMap(`sallyport-${name}`)))
        writeFileSync(path.join(dir, name, file), text)
    }
    const { settings, model, diagnostics } = loadConfiguration(path.join(dir, 'config/gateway.yaml'))
    const findings = diagnostics.filter(({ severity }) => severity !== 'info')
    assert.deepEqual(findings, [])
    assert.ok(settings !== null && model !== null)
    return settings
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

const sorted = (values: readonly number[]) => values.toSorted((a, b) => a - b)
const folder = (file: string) => path.posix.dirname(file)

for (const dir of INSTALLABLE)
  describe(dir, () => {
    const installed = installation(dir)
    const { container, agent, pod, podLabels, objects } = installed
    const settings = settingsOf(installed)
    const deployment = objects.find(({ kind }) => kind === 'Deployment')
    const namespace = deployment?.metadata.namespace

    test('the container’s ports are those that the program binds, without the admin port', () => {
      const bound = [...settings.ports.map(({ bindPort }) => bindPort), settings.health.port, settings.metrics.port]
      assert.deepEqual(sorted((container.ports ?? []).map(({ containerPort }) => containerPort)), sorted(bound))
      assert.equal(settings.admin.address, '127.0.0.1')
      const exposed = /^EXPOSE (.*)$/m.exec(readFileSync(path.join(ROOT, 'Dockerfile'), 'utf8'))?.[1]?.split(' ')
      assert.deepEqual(sorted(exposed?.map(Number) ?? []), sorted(bound))
    })

    test('the Service’s ports lead where the bootstrap file says', () => {
      type Service = {
        readonly selector: Selector['matchLabels']
        readonly ports: readonly { readonly port: number; readonly targetPort: string }[]
      }
      const service = installed.spec<Service>('Service')
      const expected = [
        ...settings.ports.map(({ gatewayPort, bindPort }) => [gatewayPort, bindPort]),
        [settings.health.port, settings.health.port],
      ]
      const found = service.ports.map(({ port, targetPort }) => [port, portOf(installed, targetPort)])
      assert.deepEqual(new Map(found as [number, number][]), new Map(expected as [number, number][]))
      assert.ok(selects({ matchLabels: service.selector }, podLabels))
    })

    test('probes and Prometheus ask at the right ports', () => {
      for (const { httpGet } of [container.startupProbe, container.readinessProbe])
        assert.equal(portOf(installed, httpGet?.port ?? ''), settings.health.port)
      // Over HTTP it would be 503 in a drain, and kill it.
      assert.equal(container.livenessProbe.httpGet, undefined)
      assert.equal(portOf(installed, container.livenessProbe.tcpSocket?.port ?? ''), settings.health.port)
      type PodMonitor = {
        readonly selector: Selector
        readonly podMetricsEndpoints: readonly { readonly port: string }[]
      }
      const { selector, podMetricsEndpoints } = installed.spec<PodMonitor>('PodMonitor')
      assert.ok(selects(selector, podLabels))
      assert.deepEqual(
        podMetricsEndpoints.map(({ port }) => portOf(installed, port)),
        [settings.metrics.port],
      )
    })

    test('the pod is who the bootstrap file says it is', () => {
      assert.equal(settings.name, NAME)
      assert.equal(settings.namespace, namespace)
      for (const [key, value] of Object.entries(settings.labels)) assert.equal(podLabels[key], value, key)
      assert.deepEqual(Object.keys(settings.labels), ['istio', 'app'])
      assert.equal(podLabels['security.istio.io/tlsMode'], 'istio')
      assert.equal(podLabels['sidecar.istio.io/inject'], 'false')
      const account = objects.find(({ kind }) => kind === 'ServiceAccount')
      assert.equal(pod.serviceAccountName, account?.metadata.name)
      for (const { kind, metadata } of objects)
        assert.equal(metadata.namespace, kind === 'Namespace' ? undefined : namespace, kind)
      assert.deepEqual(
        objects.filter(({ kind }) => kind === 'Namespace').map(({ metadata }) => metadata.name),
        dir === 'examples/in-istio-system' ? [] : [namespace],
      )
    })

    test('every selector picks the gateway’s pods', () => {
      const own = installed.spec<{ selector: Selector }>('Deployment').selector
      const others = [
        installed.spec<{ selector: Selector }>('PodDisruptionBudget').selector,
        installed.spec<{ podSelector: Selector }>('NetworkPolicy').podSelector,
        ...pod.topologySpreadConstraints.map(({ labelSelector }) => labelSelector),
      ]
      for (const selector of [own, ...others]) {
        assert.ok(selects(selector, podLabels))
        assert.ok(Object.keys(selector.matchLabels).length > 0, 'an empty one picks everything')
      }
    })

    test('what scales and what guards name the Deployment', () => {
      type Autoscaler = {
        readonly scaleTargetRef: object
        readonly minReplicas: number
        readonly metrics: readonly { readonly containerResource: { readonly container: string } }[]
      }
      const { scaleTargetRef, minReplicas, metrics } = installed.spec<Autoscaler>('HorizontalPodAutoscaler')
      assert.deepEqual(scaleTargetRef, { apiVersion: 'apps/v1', kind: 'Deployment', name: NAME })
      assert.equal(metrics[0]?.containerResource.container, container.name)
      assert.ok(container.resources.requests['cpu'] !== undefined, 'utilization is of the request')
      assert.ok(minReplicas > installed.spec<{ maxUnavailable: number }>('PodDisruptionBudget').maxUnavailable)
      assert.equal(installed.spec<{ replicas?: number }>('Deployment').replicas, undefined)
    })

    test('there is time to drain', () => {
      const seconds = container.lifecycle.preStop.sleep.seconds + settings.drainDurationMs / 1000
      assert.ok(pod.terminationGracePeriodSeconds >= seconds + 10, `${seconds} s and some to close what is left`)
    })

    test('every mount has its volume, every volume its mount, and no file is mounted alone', () => {
      const containers = agent === null ? [container] : [container, agent]
      const mounts = containers.flatMap(({ volumeMounts }) => volumeMounts)
      assert.deepEqual(new Set(mounts.map(({ name }) => name)), new Set(pod.volumes.map(({ name }) => name)))
      for (const mount of mounts) assert.equal(mount.subPath, undefined, 'a subPath mount is never updated')
      for (const { name, readOnly } of container.volumeMounts) assert.equal(readOnly, true, name)
      // A mount inside another one needs a directory that nobody can make there.
      const paths = container.volumeMounts.map(({ mountPath }) => mountPath)
      for (const a of paths) for (const b of paths) assert.ok(!b.startsWith(`${a}/`), `${b} lies in ${a}`)
      for (const { configMap } of pod.volumes)
        if (configMap !== undefined && configMap.name !== 'istio-ca-root-cert') installed.configMap(configMap.name)
    })

    test('the program reads what is mounted', () => {
      const paths = container.volumeMounts.map(({ mountPath }) => mountPath)
      const [command, flag, file = ''] = container.args
      assert.deepEqual([command, flag, path.basename(file)], ['run', '-f', 'gateway.yaml'])
      for (const each of [file, ...Object.values(settings.identity)]) assert.ok(paths.includes(folder(each)), each)
      assert.ok(paths.includes('/etc/sallyport/resources'), 'what ../resources is in the pod')
      assert.equal(settings.secretsDirectory, '/etc/sallyport/secrets')
      assert.equal(settings.mesh.accessLogFile, '/dev/stdout', 'the root file system is read-only')
    })

    test('the pod fits the restricted Pod Security Standard, and more', () => {
      const user = /^USER (\d+):(\d+)$/m.exec(readFileSync(path.join(ROOT, 'Dockerfile'), 'utf8'))
      assert.equal(pod.securityContext['runAsNonRoot'], true)
      assert.equal(pod.securityContext['runAsUser'], Number(user?.[1]))
      assert.equal(pod.securityContext['runAsGroup'], Number(user?.[2]))
      assert.deepEqual(pod.securityContext['seccompProfile'], { type: 'RuntimeDefault' })
      assert.equal(pod.automountServiceAccountToken, false)
      for (const { name, securityContext, resources } of agent === null ? [container] : [container, agent]) {
        const hardened = {
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ['ALL'] },
        }
        assert.deepEqual(securityContext, hardened, name)
        assert.ok(resources.limits['memory'] !== undefined, name)
      }
      // The kinds of volume that `restricted` allows and that hold nothing of the node.
      for (const { name, ...source } of pod.volumes)
        assert.ok(['configMap', 'emptyDir', 'projected', 'csi'].includes(Object.keys(source)[0] ?? ''), name)
      for (const { kind, metadata } of objects)
        if (kind === 'Namespace') assert.equal(metadata.labels?.['pod-security.kubernetes.io/enforce'], 'restricted')
    })

    test('the image is this version', () => {
      assert.equal(container.image, `sallyport:${VERSION}`)
      assert.match(agent?.image ?? 'x:1.2.3', /:\d+\.\d+\.\d+$/)
    })
  })

describe('where the certificate comes from', () => {
  const withAgent = installation('overlays/istio-agent')
  const withDriver = installation('overlays/cert-manager-csi')

  test('istio-agent writes the directory that the gateway reads, as its user, and takes none of its ports', () => {
    const { agent, container, pod } = withAgent
    const settings = settingsOf(withAgent)
    const env = new Map(agent?.env?.map(({ name, value }) => [name, value]))
    assert.deepEqual(
      Object.values(settings.identity).map((file) => path.basename(file)),
      ['cert-chain.pem', 'key.pem', 'root-cert.pem'],
    )
    const written = agent?.volumeMounts.find(({ mountPath }) => mountPath === env.get('OUTPUT_CERTS'))
    const read = container.volumeMounts.find(({ mountPath }) => mountPath === folder(settings.identity.privateKey))
    assert.ok(written !== undefined && written.name === read?.name)
    assert.notEqual(written.readOnly, true)
    // There the agent would take its own files for somebody else's and never renew them.
    assert.notEqual(written.mountPath, '/etc/certs')
    // Its files have mode 0600.
    for (const each of [agent, container]) assert.equal(each?.securityContext['runAsUser'], undefined)
    assert.equal(env.get('TRUST_DOMAIN'), settings.mesh.trustDomain)
    // Envoy would take 15000, 15021 and 15090.
    assert.equal(env.get('DISABLE_ENVOY'), 'true')
    const status = agent?.startupProbe.httpGet?.port ?? 0
    assert.ok(
      ![...(container.ports ?? []).map((port) => port.containerPort), settings.admin.port].includes(Number(status)),
    )
    // There before the gateway starts, and until it has ended.
    assert.equal(agent?.restartPolicy, 'Always')
    const token = pod.volumes.find(({ projected }) => projected !== undefined)?.name
    assert.ok(!container.volumeMounts.some(({ name }) => name === token), 'the token is the agent’s')
  })

  test('csi-driver-spiffe: its file names, its group, its permission, and nothing else changes', () => {
    const { pod, objects, configMap } = withDriver
    const settings = settingsOf(withDriver)
    assert.deepEqual(
      Object.values(settings.identity).map((file) => path.basename(file)),
      ['tls.crt', 'tls.key', 'ca.crt'],
    )
    const csi = pod.volumes.find((volume) => volume.csi !== undefined)?.csi
    assert.equal(
      csi?.volumeAttributes['spiffe.csi.cert-manager.io/fs-group'],
      String(pod.securityContext['runAsGroup']),
    )
    const binding = objects.find(({ kind }) => kind === 'RoleBinding') as unknown as {
      readonly metadata: { readonly namespace: string }
      readonly roleRef: { readonly name: string }
      readonly subjects: readonly object[]
    }
    const { namespace } = binding.metadata
    assert.deepEqual(binding.subjects, [{ kind: 'ServiceAccount', name: pod.serviceAccountName, namespace }])
    assert.ok(objects.some(({ kind, metadata }) => kind === 'Role' && metadata.name === binding.roleRef.name))
    const rest = (text = '') => text.split('\n').filter((line) => !/certificateChain|privateKey|trustBundle/.test(line))
    const base = withAgent.configMap('sallyport-config')['gateway.yaml']
    assert.deepEqual(rest(configMap('sallyport-config')['gateway.yaml']), rest(base))
  })

  test('dedicated nodes: only the placement changes', () => {
    const placed = installation('overlays/dedicated-nodes')
    const [label] = Object.keys(placed.pod.nodeSelector ?? {})
    assert.deepEqual(
      placed.pod.tolerations?.map(({ key }) => key),
      [label],
    )
    const {
      nodeSelector: _n,
      tolerations: _t,
      affinity: _a,
      ...rest
    } = placed.pod as typeof placed.pod & { affinity: object }
    assert.deepEqual(rest, withAgent.pod)
  })

  test('in istio-system: the Namespace goes, and every other line that differs is of the namespace', () => {
    const moved = installation('examples/in-istio-system')
    const text = (objects: readonly object[]) => JSON.stringify(objects).replaceAll('istio-egress', 'istio-system')
    const kept = withAgent.objects.filter(({ kind }) => kind !== 'Namespace')
    const namesOf = (text: string) => text.replaceAll('istio-systemgateway', 'istio-egressgateway')
    assert.equal(namesOf(text(moved.objects)), namesOf(text(kept)))
  })
})

/**
 * The files that the gateway's container would see, laid out below a directory of ours: each mounted ConfigMap as the kubelet
 * writes it (`..data` and all), the certificate under the names that its issuer gives. Only then is the bootstrap file changed:
 * paths moved below the directory, addresses to loopback, ports to "any".
 */
import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { parse } from 'yaml'
import type { TestCertificate } from '../../src/testing/pki.ts'
import type { Installation, Volume } from './installation.ts'

type Bootstrap = {
  readonly spec: Readonly<Record<string, unknown>> & {
    readonly identity: Readonly<Record<string, string>>
    readonly meshConfig: object
    readonly ports: Readonly<Record<string, number>>
    readonly secretsDirectory: string
  }
}

/** What istio-agent (OUTPUT_CERTS) and csi-driver-spiffe call the chain, the key and the CA. */
const CERTIFICATE_FILES = {
  agent: ['cert-chain.pem', 'key.pem', 'root-cert.pem'],
  csi: ['tls.crt', 'tls.key', 'ca.crt'],
} as const

/** Writes a volume as the kubelet does: the files in a dated directory, `..data` a link to it, each name a link through that. */
function project(dir: string, files: Readonly<Record<string, string>>): void {
  const dated = '..2026_01_01_00_00_00.1'
  mkdirSync(path.join(dir, dated), { recursive: true })
  symlinkSync(dated, path.join(dir, '..data'))
  for (const [name, text] of Object.entries(files)) {
    writeFileSync(path.join(dir, dated, name), text, { mode: 0o600 })
    symlinkSync(path.join('..data', name), path.join(dir, name))
  }
}

function contentOf(
  volume: Volume,
  { configMap }: Installation,
  svid: TestCertificate,
): Readonly<Record<string, string>> {
  if (volume.configMap !== undefined) return configMap(volume.configMap.name)
  const [chain, key, ca] = CERTIFICATE_FILES[volume.csi === undefined ? 'agent' : 'csi']
  return { [chain]: svid.cert, [key]: svid.key, [ca]: svid.ca }
}

/** Lays out the pod below `dir`. Answers the bootstrap file to start with, and where the access log goes. */
export function layOutPod(
  dir: string,
  installed: Installation,
  svid: TestCertificate,
): { readonly configFile: string; readonly accessLog: string } {
  const { container, pod } = installed
  const at = (inPod: string) => path.join(dir, inPod)
  for (const { name, mountPath } of container.volumeMounts) {
    const volume = pod.volumes.find((each) => each.name === name)
    if (volume === undefined) throw new Error(`no volume ${name}`)
    project(at(mountPath), contentOf(volume, installed, svid))
  }
  const [command, flag, file = ''] = container.args
  if (command !== 'run' || flag !== '-f') throw new Error(`unexpected arguments: ${container.args.join(' ')}`)
  if (!readdirSync(path.dirname(at(file))).includes(path.basename(file))) throw new Error(`${file} is not mounted`)
  const accessLog = path.join(dir, 'access.log')
  const configFile = path.join(path.dirname(at(file)), 'test.yaml')
  const config = installed.container.volumeMounts.find(({ mountPath }) => mountPath === path.dirname(file))
  const volume = pod.volumes.find(({ name }) => name === config?.name)
  const text = installed.configMap(volume?.configMap?.name ?? '')[path.basename(file)] ?? ''
  const { spec, ...rest } = parse(text) as Bootstrap
  const anyPort = { address: '127.0.0.1', port: 0 }
  const changed = {
    ...rest,
    spec: {
      ...spec,
      identity: Object.fromEntries(Object.entries(spec.identity).map(([key, value]) => [key, at(value)])),
      secretsDirectory: at(spec.secretsDirectory),
      meshConfig: { ...spec.meshConfig, accessLogFile: accessLog },
      bindAddress: '127.0.0.1',
      ports: Object.fromEntries(Object.keys(spec.ports).map((port) => [port, 0])),
      admin: anyPort,
      metrics: anyPort,
      health: anyPort,
    },
  }
  writeFileSync(configFile, JSON.stringify(changed))
  return { configFile, accessLog }
}

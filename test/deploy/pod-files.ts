/**
 * The files that the gateway's container would see, laid out below a directory of ours: each mounted ConfigMap as the kubelet
 * writes it (`..data` and all), the certificate under the names that its issuer gives. Only then is the bootstrap file changed:
 * paths moved below the directory, addresses to loopback, ports to "any".
 */
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
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

export type PodFiles = {
  /** The bootstrap file, moved below the directory, every port "any": to start. */
  readonly configFile: string
  /** The same with the ports as they are: to judge what policies say of ports. */
  readonly asMounted: string
  readonly accessLog: string
}

/** Lays out the pod below `dir`. @throws when a mount has no volume or the bootstrap file is not mounted */
export function layOutPod(dir: string, installed: Installation, svid: TestCertificate): PodFiles {
  const { container, pod, configMap } = installed
  const at = (inPod: string) => path.join(dir, inPod)
  const volumeOf = (name: string): Volume => {
    const volume = pod.volumes.find((each) => each.name === name)
    if (volume === undefined) throw new Error(`no volume ${name}`)
    return volume
  }
  for (const { name, mountPath } of container.volumeMounts)
    project(at(mountPath), contentOf(volumeOf(name), installed, svid))
  const [command, flag, file = ''] = container.args
  if (command !== 'run' || flag !== '-f') throw new Error(`unexpected arguments: ${container.args.join(' ')}`)
  const mount = container.volumeMounts.find(({ mountPath }) => mountPath === path.dirname(file))
  const text = configMap(volumeOf(mount?.name ?? '').configMap?.name ?? '')[path.basename(file)]
  if (text === undefined) throw new Error(`${file} is not mounted`)
  const { spec, ...rest } = parse(text) as Bootstrap
  const accessLog = path.join(dir, 'access.log')
  const anyPort = { address: '127.0.0.1', port: 0 }
  const moved = {
    ...spec,
    identity: Object.fromEntries(Object.entries(spec.identity).map(([key, value]) => [key, at(value)])),
    secretsDirectory: at(spec.secretsDirectory),
    meshConfig: { ...spec.meshConfig, accessLogFile: accessLog },
    bindAddress: '127.0.0.1',
  }
  const ports = Object.fromEntries(Object.keys(spec.ports).map((port) => [port, 0]))
  const write = (name: string, changed: object) => {
    const written = path.join(path.dirname(at(file)), name)
    writeFileSync(written, JSON.stringify({ ...rest, spec: changed }))
    return written
  }
  return {
    configFile: write('any-port.yaml', { ...moved, ports, admin: anyPort, metrics: anyPort, health: anyPort }),
    asMounted: write('as-mounted.yaml', moved),
    accessLog,
  }
}

/** TABLE of the kinds in k8s/ and of the published schemas that each object is held against. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { DestinationRule } from '@kubernetes-models/istio/networking.istio.io/v1/DestinationRule'
import { Gateway } from '@kubernetes-models/istio/networking.istio.io/v1/Gateway'
import { ServiceEntry } from '@kubernetes-models/istio/networking.istio.io/v1/ServiceEntry'
import { VirtualService } from '@kubernetes-models/istio/networking.istio.io/v1/VirtualService'
import { AuthorizationPolicy } from '@kubernetes-models/istio/security.istio.io/v1/AuthorizationPolicy'
import { PodMonitor } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PodMonitor'
import { PrometheusRule } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule'
import { Deployment } from 'kubernetes-models/apps/v1/Deployment'
import { StatefulSet } from 'kubernetes-models/apps/v1/StatefulSet'
import { HorizontalPodAutoscaler } from 'kubernetes-models/autoscaling/v2/HorizontalPodAutoscaler'
import { NetworkPolicy } from 'kubernetes-models/networking.k8s.io/v1/NetworkPolicy'
import { PodDisruptionBudget } from 'kubernetes-models/policy/v1/PodDisruptionBudget'
import { Role } from 'kubernetes-models/rbac.authorization.k8s.io/v1/Role'
import { RoleBinding } from 'kubernetes-models/rbac.authorization.k8s.io/v1/RoleBinding'
import { ConfigMap } from 'kubernetes-models/v1/ConfigMap'
import { Namespace } from 'kubernetes-models/v1/Namespace'
import { Service } from 'kubernetes-models/v1/Service'
import { ServiceAccount } from 'kubernetes-models/v1/ServiceAccount'
import type { Manifest } from './kustomize.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')

type Model = {
  readonly apiVersion: string
  readonly kind: string
  new (data: never): { validate(): void }
}

const MODELS: readonly Model[] = [
  AuthorizationPolicy,
  ConfigMap,
  Deployment,
  DestinationRule,
  Gateway,
  HorizontalPodAutoscaler,
  Namespace,
  NetworkPolicy,
  PodDisruptionBudget,
  PodMonitor,
  PrometheusRule,
  Role,
  RoleBinding,
  Service,
  ServiceAccount,
  ServiceEntry,
  StatefulSet,
  VirtualService,
]

function modelOf({ apiVersion, kind }: Manifest): Model {
  const model = MODELS.find((each) => each.apiVersion === apiVersion && each.kind === kind)
  if (model === undefined) throw new Error(`no schema for ${apiVersion} ${kind}: add a row to test/deploy/models.ts`)
  return model
}

/** Holds an object against the OpenAPI schema of its kind. It misses keys that the schema does not know. @throws on a mismatch */
export function validate(manifest: Manifest): void {
  const Kind = modelOf(manifest)
  new Kind(manifest as never).validate()
}

/**
 * The same object as TypeScript: the compiler knows of every key whether it exists, down to the last field of a container.
 * `partial`: a patch, in which anything may be missing.
 */
export function asTypeScript(manifest: Manifest, name: string, partial = false): string {
  const { apiVersion, kind } = modelOf(manifest)
  const group = apiVersion.split('/')[0] ?? ''
  const owner = group.endsWith('.istio.io')
    ? '@kubernetes-models/istio/'
    : group === 'monitoring.coreos.com'
      ? '@kubernetes-models/prometheus-operator/'
      : 'kubernetes-models/'
  const whole = `import('${owner}${apiVersion}/${kind}').I${kind}`
  return `export const ${name}: ${partial ? `Patch<${whole}>` : whole} = ${JSON.stringify(manifest)}\n`
}

const PATCH = "type Patch<T> = T extends object ? { [K in keyof T]?: Patch<T[K]> } & { $patch?: 'delete' } : T\n"

/** Compiles objects as literals of their published types; answers `file: what is wrong`. */
export function typeErrors(files: Readonly<Record<string, string>>): readonly string[] {
  const dir = mkdtempSync(path.join(tmpdir(), 'sallyport-k8s-'))
  try {
    symlinkSync(path.join(ROOT, 'node_modules'), path.join(dir, 'node_modules'))
    writeFileSync(path.join(dir, 'package.json'), '{"type":"module"}')
    for (const [name, text] of Object.entries(files)) writeFileSync(path.join(dir, `${name}.ts`), PATCH + text)
    const options = [
      '--noEmit',
      '--strict',
      '--skipLibCheck',
      '--module',
      'nodenext',
      '--target',
      'es2024',
      '--types',
      '',
    ]
    const names = Object.keys(files).map((name) => `${name}.ts`)
    const tsc = path.join(ROOT, 'node_modules/typescript/bin/tsc')
    const { stdout, status } = spawnSync(process.execPath, [tsc, ...options, ...names], { cwd: dir, encoding: 'utf8' })
    const errors = stdout.split('\n').filter((line) => /^\S+\.ts\(/.test(line))
    if ((status === 0) !== (errors.length === 0)) throw new Error(stdout)
    return errors.map((line) => line.replace(/\(\d+,\d+\): error TS\d+/, ''))
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

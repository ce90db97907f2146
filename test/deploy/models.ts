/** TABLE of the kinds in k8s/ and of the published schemas that each object is held against. */

import { DestinationRule } from '@kubernetes-models/istio/networking.istio.io/v1/DestinationRule'
import { Gateway } from '@kubernetes-models/istio/networking.istio.io/v1/Gateway'
import { ServiceEntry } from '@kubernetes-models/istio/networking.istio.io/v1/ServiceEntry'
import { VirtualService } from '@kubernetes-models/istio/networking.istio.io/v1/VirtualService'
import { AuthorizationPolicy } from '@kubernetes-models/istio/security.istio.io/v1/AuthorizationPolicy'
import { PodMonitor } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PodMonitor'
import { PrometheusRule } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule'
import { Deployment } from 'kubernetes-models/apps/v1/Deployment'
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

/** The same object as TypeScript: the compiler knows of every key whether it exists, down to the last field of a container. */
export function asTypeScript(manifest: Manifest, name: string): string {
  const { apiVersion, kind } = modelOf(manifest)
  const group = apiVersion.split('/')[0] ?? ''
  const owner = group.endsWith('.istio.io')
    ? '@kubernetes-models/istio/'
    : group === 'monitoring.coreos.com'
      ? '@kubernetes-models/prometheus-operator/'
      : 'kubernetes-models/'
  const type = `import('${owner}${apiVersion}/${kind}').I${kind}`
  return `export const ${name}: ${type} = ${JSON.stringify(manifest)}\n`
}

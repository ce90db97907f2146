/** A rendered overlay as tests look at it: the gateway's Deployment and what stands around it, with the fields that tests read. */
import path from 'node:path'
import { type Manifest, render } from './kustomize.ts'
import type { Fields } from './strategic-merge.ts'

export const ROOT = path.resolve(import.meta.dirname, '../..')
/** What is installed as it stands; of k8s/. */
export const INSTALLABLE = [
  'overlays/istio-agent',
  'overlays/cert-manager-csi',
  'overlays/dedicated-nodes',
  'overlays/shared-limits',
  'examples/in-istio-system',
] as const

type Labels = Readonly<Record<string, string>>
export type Selector = { readonly matchLabels: Labels }
type Probe = {
  readonly httpGet?: { readonly path: string; readonly port: string | number }
  readonly tcpSocket?: { readonly port: string | number }
}

export type Container = {
  readonly name: string
  readonly image: string
  readonly args: readonly string[]
  readonly restartPolicy?: string
  readonly env?: readonly { readonly name: string; readonly value?: string }[]
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[]
  readonly startupProbe: Probe
  readonly readinessProbe: Probe
  readonly livenessProbe: Probe
  readonly lifecycle: { readonly preStop: { readonly sleep: { readonly seconds: number } } }
  readonly resources: { readonly requests: Labels; readonly limits: Labels }
  readonly securityContext: Fields
  readonly volumeMounts: readonly {
    readonly name: string
    readonly mountPath: string
    readonly subPath?: string
    readonly readOnly?: boolean
  }[]
}

export type Volume = {
  readonly name: string
  readonly configMap?: { readonly name: string }
  readonly emptyDir?: Fields
  readonly csi?: { readonly driver: string; readonly volumeAttributes: Labels }
  readonly projected?: Fields
}

export type Pod = {
  readonly serviceAccountName: string
  readonly automountServiceAccountToken: boolean
  readonly terminationGracePeriodSeconds: number
  readonly securityContext: Fields
  readonly nodeSelector?: Labels
  readonly tolerations?: readonly Fields[]
  readonly topologySpreadConstraints: readonly { readonly labelSelector: Selector }[]
  readonly initContainers?: readonly Container[]
  readonly containers: readonly Container[]
  readonly volumes: readonly Volume[]
}

export type Installation = {
  readonly objects: readonly Manifest[]
  readonly podLabels: Labels
  readonly pod: Pod
  /** The gateway's own container. */
  readonly container: Container
  /** The agent beside it, where there is one. */
  readonly agent: Container | null
  /** The one object of this kind and name. @throws when there is none */
  readonly spec: <Spec>(kind: string, name?: string) => Spec
  /** File name → text. @throws when there is no such ConfigMap */
  readonly configMap: (name: string) => Readonly<Record<string, string>>
}

export const NAME = 'istio-egressgateway'

/** Renders k8s/DIR. @throws as render does, and when there is no Deployment of the gateway */
export function installation(dir: string): Installation {
  const objects = render(path.join(ROOT, 'k8s', dir))
  const find = (kind: string, name: string): Manifest => {
    const object = objects.find((each) => each.kind === kind && each.metadata.name === name)
    if (object === undefined) throw new Error(`${dir}: no ${kind} ${name}`)
    return object
  }
  const { template } = find('Deployment', NAME)['spec'] as {
    readonly template: { readonly metadata: { readonly labels: Labels }; readonly spec: Pod }
  }
  const container = template.spec.containers.find(({ name }) => name === 'sallyport')
  if (container === undefined) throw new Error(`${dir}: no container sallyport`)
  return {
    objects,
    podLabels: template.metadata.labels,
    pod: template.spec,
    container,
    agent: template.spec.initContainers?.find(({ name }) => name === 'istio-agent') ?? null,
    spec: <Spec>(kind: string, name = NAME) => find(kind, name)['spec'] as Spec,
    configMap: (name) => find('ConfigMap', name)['data'] as Readonly<Record<string, string>>,
  }
}

/** Whether a selector of matchLabels picks something with these labels. */
export function selects({ matchLabels }: Selector, labels: Labels): boolean {
  return Object.entries(matchLabels).every(([key, value]) => labels[key] === value)
}

/** A port by its name or number, as probes, Services and policies write it. @throws when no container port has the name */
export function portOf({ container }: Installation, port: string | number): number {
  if (typeof port === 'number') return port
  const found = container.ports?.find(({ name }) => name === port)
  if (found === undefined) throw new Error(`no container port is named ${port}`)
  return found.containerPort
}

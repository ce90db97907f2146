/**
 * Which service accounts a `workloadSelector` stands for. An SVID proves namespace and service account, never labels;
 * so an account counts only when every pod known to run under it carries the selector's labels (contract §3).
 */
import type { SourceRef } from '../core/attributes.ts'
import { cronJob, pod, type TemplatedSpec, templatedWorkloads } from './kinds/workload.ts'
import { ofKind } from './of-kind.ts'
import type { Resource } from './resource.ts'

type PodTemplate = {
  /** `Deployment mytest/sleep-a`. */
  readonly workload: string
  readonly labels: Readonly<Record<string, string>>
  readonly source: SourceRef
}

/** `unknown`: no workload carries the labels. `shared`: a workload without them runs under the same account. */
type SelectorProblem = { readonly kind: 'unknown' | 'shared'; readonly message: string; readonly fix: string }

export type Workloads = {
  /** Accounts of `namespace` whose every known pod template includes `selector`; none known is none matched. */
  serviceAccountsFor(
    namespace: string,
    selector: Readonly<Record<string, string>>,
  ): { readonly accounts: readonly string[]; readonly problems: readonly SelectorProblem[] }
}

export function learnWorkloads(resources: readonly Resource[]): Workloads {
  const accounts = new Map<string, Map<string, PodTemplate[]>>()
  const learn = (
    resource: Resource,
    labels: Readonly<Record<string, string>>,
    spec: { readonly serviceAccountName?: string | undefined; readonly serviceAccount?: string | undefined },
  ) => {
    // `||`, as an empty name is the default account too.
    const account = spec.serviceAccountName || spec.serviceAccount || 'default'
    const inNamespace = accounts.get(resource.namespace) ?? new Map<string, PodTemplate[]>()
    accounts.set(resource.namespace, inNamespace)
    const templates = inNamespace.get(account) ?? []
    inNamespace.set(account, templates)
    const workload = `${resource.kind} ${resource.namespace}/${resource.name}`
    templates.push({ workload, labels, source: resource.at() })
  }
  const learnTemplate = (resource: Resource, { template }: TemplatedSpec) =>
    learn(resource, template.metadata?.labels ?? {}, template.spec ?? {})

  for (const resource of ofKind(resources, pod)) learn(resource, resource.labels, resource.spec)
  for (const module of templatedWorkloads)
    for (const resource of ofKind(resources, module)) learnTemplate(resource, resource.spec)
  for (const resource of ofKind(resources, cronJob)) learnTemplate(resource, resource.spec.jobTemplate.spec)

  return {
    serviceAccountsFor(namespace, selector) {
      const found: string[] = []
      const problems: SelectorProblem[] = []
      for (const [account, templates] of [...(accounts.get(namespace) ?? [])].sort(([a], [b]) => (a < b ? -1 : 1))) {
        const without = templates.find((template) => !includes(template.labels, selector))
        const carrier = templates.find((template) => includes(template.labels, selector))
        if (carrier === undefined) continue
        if (without === undefined) found.push(account)
        else problems.push(shared(namespace, account, selector, carrier, without))
      }
      if (found.length === 0 && problems.length === 0) problems.push(unknown(namespace, selector))
      return { accounts: found, problems }
    },
  }
}

function includes(labels: Readonly<Record<string, string>>, selector: Readonly<Record<string, string>>): boolean {
  return Object.entries(selector).every(([key, value]) => Object.hasOwn(labels, key) && labels[key] === value)
}

function shared(
  namespace: string,
  account: string,
  selector: Readonly<Record<string, string>>,
  carrier: PodTemplate,
  without: PodTemplate,
): SelectorProblem {
  const where = `${without.source.file}:${without.source.line}`
  return {
    kind: 'shared',
    message:
      `${carrier.workload} has ${show(selector)}, but ${without.workload} (${where}), which has not, runs under the ` +
      `same service account "${account}": their certificates are alike, so neither matches`,
    fix: `give one of them a service account of its own in namespace ${namespace}`,
  }
}

function unknown(namespace: string, selector: Readonly<Record<string, string>>): SelectorProblem {
  return {
    kind: 'unknown',
    message: `no workload of namespace ${namespace} with ${show(selector)} is known, so nobody matches`,
    fix:
      `mount the Deployment (or Pod, StatefulSet, DaemonSet, Job, CronJob) that carries these labels in namespace ` +
      `${namespace} among spec.resources, or leave workloadSelector out to admit the whole namespace`,
  }
}

function show(selector: Readonly<Record<string, string>>): string {
  return Object.entries(selector)
    .map(([key, value]) => `${key}=${value}`)
    .join(',')
}

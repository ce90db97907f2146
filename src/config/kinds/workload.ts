/**
 * Core Kubernetes workloads, read only to learn which pod labels go with which service account (contract §3,
 * `workloadSelector`). Their schemas are loose: everything else in them is not our business.
 */
import { z } from 'zod'
import type { KindModule } from '../resource.ts'
import { stringMap, text } from '../schema.ts'

const podSpec = z.looseObject({
  serviceAccountName: text.optional(),
  /** The field's deprecated name; Kubernetes keeps both equal. */
  serviceAccount: text.optional(),
})

const template = z.looseObject({
  metadata: z.looseObject({ labels: stringMap.optional() }).optional(),
  spec: podSpec.optional(),
})

const templated = z.looseObject({ template })
const cron = z.looseObject({ jobTemplate: z.looseObject({ spec: templated }) })

export type PodSpec = z.infer<typeof podSpec>
export type TemplatedSpec = z.infer<typeof templated>
export type CronJobSpec = z.infer<typeof cron>

function workload<Spec>(group: string, kind: string, schema: z.ZodType<Spec>): KindModule<Spec> {
  return { kind, group, versions: ['v1'], unknownKeys: 'warning', schema, specOptional: false, unsupported: [] }
}

export const pod: KindModule<PodSpec> = workload('', 'Pod', podSpec)
export const templatedWorkloads: readonly KindModule<TemplatedSpec>[] = [
  workload('apps', 'Deployment', templated),
  workload('apps', 'StatefulSet', templated),
  workload('apps', 'DaemonSet', templated),
  workload('batch', 'Job', templated),
]
export const cronJob: KindModule<CronJobSpec> = workload('batch', 'CronJob', cron)

/** The reader hands each module only what its own schema returned. */
export const workloads = [pod, ...templatedWorkloads, cronJob] as readonly unknown[] as readonly KindModule[]

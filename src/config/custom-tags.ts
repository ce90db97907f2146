/** Custom tags of spans: Telemetry's `tracing[].customTags` and `meshConfig.defaultConfig.tracing.customTags`. */
import { z } from 'zod'
import type { CustomTag } from '../model/tracing.ts'
import { text } from './schema.ts'

/** By name. */
export const CUSTOM_TAGS = z.record(
  z.string(),
  z.object({
    literal: z.object({ value: text }).optional(),
    environment: z.object({ name: text, defaultValue: text.optional() }).optional(),
    header: z.object({ name: text, defaultValue: text.optional() }).optional(),
    formatter: z.object({ value: text }).optional(),
  }),
)

/** Sorted by name. One without a source that exists here is left out; `without` is told of it. */
export function tagsOf(
  written: z.output<typeof CUSTOM_TAGS>,
  without: (name: string, why: string) => void = () => undefined,
): readonly CustomTag[] {
  const tags: CustomTag[] = []
  for (const [name, tag] of Object.entries(written).toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    const { environment, header, literal } = tag
    if (literal !== undefined) tags.push({ name, header: null, value: literal.value })
    else if (environment !== undefined) {
      const value = process.env[environment.name] ?? environment.defaultValue ?? null
      if (value !== null) tags.push({ name, header: null, value })
    } else if (header !== undefined)
      tags.push({ name, header: header.name.toLowerCase(), value: header.defaultValue ?? null })
    else without(name, `the tag ${name} has no literal, environment or header: it is left out`)
  }
  return tags
}

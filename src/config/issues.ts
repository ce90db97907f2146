/** What zod found, told as diagnostics: the path as written, what is expected, what stands there. */
import type { z } from 'zod'
import type { SourceRef } from '../core/attributes.ts'
import { nearest } from './nearest.ts'
import { formatPath, type Path, type PositionTree, positionOf } from './position.ts'
import type { Report } from './resource.ts'

type Issue = z.core.$ZodIssue

/** Reports every issue at its place. `value` is what was parsed, `base` its path in the document, `positions` its tree. */
export function reportIssues(
  issues: readonly Issue[],
  value: unknown,
  base: Path,
  positions: PositionTree,
  locate: (offset: number) => SourceRef,
  report: Report,
): void {
  for (const issue of issues.flatMap((each) => narrow(each, []))) {
    const path = issue.path as Path
    const found = lookup(value, path)
    const at = locate(positionOf(positions, path))
    const full = formatPath([...base, ...path])
    if (found === undefined && isMissing(issue)) {
      report('SP1033', at, `${full} is required`)
      continue
    }
    const { text, fix } = describe(issue, found)
    report('SP1000', at, `${full}: ${text}`, fix === null ? {} : { fix })
  }
}

/** A failed union says "invalid"; the branch that got furthest says why. */
function narrow(issue: Issue, prefix: Path): Issue[] {
  const here = { ...issue, path: [...prefix, ...issue.path] } as Issue
  if (issue.code !== 'invalid_union') return [here]
  let best: readonly Issue[] | null = null
  for (const branch of issue.errors) {
    if (branch.every((each) => each.path.length === 0)) continue
    if (best === null || branch.length < best.length) best = branch
  }
  return best === null ? [here] : best.flatMap((each) => narrow(each, here.path as Path))
}

function isMissing(issue: Issue): boolean {
  return issue.code === 'invalid_type' || issue.code === 'invalid_value' || issue.code === 'invalid_union'
}

function lookup(value: unknown, path: Path): unknown {
  let here = value
  for (const step of path) {
    if (typeof here !== 'object' || here === null || !Object.hasOwn(here, step)) return undefined
    here = (here as Record<string | number, unknown>)[step]
  }
  return here
}

function describe(issue: Issue, found: unknown): { text: string; fix: string | null } {
  switch (issue.code) {
    case 'invalid_type': {
      const quote = issue.expected === 'string' && (typeof found === 'number' || typeof found === 'boolean')
      return {
        text: `expected ${TYPE_NAMES[issue.expected] ?? issue.expected}, found ${show(found)}`,
        fix: quote ? `put it in quotes: "${String(found)}"` : null,
      }
    }
    case 'invalid_value': {
      const names = issue.values.map(String)
      const guess = typeof found === 'string' ? nearest(found.toUpperCase(), names) : null
      const list = names.length === 1 ? names.join() : `one of ${names.join(', ')}`
      return { text: `expected ${list}, found ${show(found)}`, fix: guess === null ? null : `did you mean ${guess}?` }
    }
    case 'too_small':
    case 'too_big': {
      const bound = issue.code === 'too_small' ? issue.minimum : issue.maximum
      const side = issue.code === 'too_small' ? 'at least' : 'at most'
      if (issue.origin === 'string') {
        return { text: bound === 1 ? 'must not be empty' : `must be ${side} ${bound} characters long`, fix: null }
      }
      if (issue.origin === 'array')
        return { text: `must have ${side} ${bound} item${bound === 1 ? '' : 's'}`, fix: null }
      return { text: `must be ${side} ${bound}, found ${show(found)}`, fix: null }
    }
    case 'invalid_union':
      return { text: `${show(found)} is not allowed here`, fix: null }
    case 'invalid_key':
      return { text: issue.issues[0]?.message ?? issue.message, fix: null }
    case 'custom':
    case 'invalid_element':
    case 'invalid_format':
    case 'not_multiple_of':
    case 'unrecognized_keys':
      return { text: issue.message, fix: null }
  }
}

const TYPE_NAMES: Readonly<Record<string, string>> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  object: 'a map',
  record: 'a map',
  array: 'a list',
}

function show(value: unknown): string {
  if (value === null) return 'nothing (null)'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object') return 'a map'
  const text = JSON.stringify(value) ?? 'nothing'
  return text.length > 60 ? `${text.slice(0, 57)}…` : text
}

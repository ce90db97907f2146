/** Inputs worth keeping: one for each combination of decisions that fuzzing has come upon, the shortest, and what was found. */
import { readFileSync, writeFileSync } from 'node:fs'
import type { Decision } from './engine-differences.ts'
import { bytesOf, type Input } from './input.ts'
import type { ResponseInput } from './responses.ts'

/** `bytes`: one character is one byte. */
export type RequestRow = {
  readonly bytes: string
  readonly cuts: readonly number[]
  /** What becomes of each request over `wire`: `sent`, or the refusal's details. */
  readonly decisions: readonly string[]
}

export type ResponseRow = {
  readonly bytes: string
  readonly cuts: readonly number[]
  readonly method: ResponseInput['method']
  readonly end: ResponseInput['end']
  /** What the caller sees over `wire`. */
  readonly seen: string
}

const fileOf = (name: string) => new URL(`../corpus/http1/${name}.json`, import.meta.url)

export function readCorpus<T>(name: 'requests' | 'responses'): readonly T[] {
  return JSON.parse(readFileSync(fileOf(name), 'utf8')) as readonly T[]
}

/** One row a line: what changes can be seen. */
export function writeCorpus(name: 'requests' | 'responses', rows: readonly (RequestRow | ResponseRow)[]): void {
  writeFileSync(fileOf(name), `[\n${rows.map((row) => JSON.stringify(row)).join(',\n')}\n]\n`)
}

export function inputOf({ bytes, cuts }: { readonly bytes: string; readonly cuts: readonly number[] }): Input {
  return { bytes: bytesOf(bytes), cuts }
}

export function wordsOf(decisions: readonly Decision[]): readonly string[] {
  return decisions.map(({ sent, code, details }) => (sent ? `sent ${code}` : `refused ${code} ${details}`))
}

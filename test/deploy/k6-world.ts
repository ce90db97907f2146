/**
 * The load-test scripts loaded outside k6: its modules are replaced by recorders (k6 itself is not to be had here), the scripts are the real
 * ones. A script reads its environment when it is loaded, so each environment loads it, and what it imports, anew.
 */
import { registerHooks } from 'node:module'
import path from 'node:path'
import { ROOT } from './compose-file.ts'

type Threshold = string | { readonly threshold: string }

export type K6Script = {
  readonly options: {
    readonly scenarios: Readonly<Record<string, { readonly exec: string; readonly executor: string }>>
    readonly thresholds: Readonly<Record<string, readonly Threshold[]>>
    readonly tlsAuth: readonly { readonly cert: string; readonly key: string }[]
  }
  visit(): void
  setup?(): unknown
  teardown?(data: unknown): void
  handleSummary(data: unknown): Readonly<Record<string, string>>
}

export type K6Request = {
  readonly method: string
  readonly url: string
  readonly body: string | null
  readonly params: {
    readonly headers: Readonly<Record<string, string>>
    readonly tags: Readonly<Record<string, string>>
    readonly responseCallback: readonly number[]
  }
}

export type K6Response = {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | null
}

/** What k6 is to the scripts. */
export type K6 = {
  iteration: number
  respond: (request: K6Request) => K6Response
  /** `checks` and counters, as they come. */
  readonly checks: { readonly name: string; readonly ok: boolean; readonly tags: Readonly<Record<string, string>> }[]
  readonly counts: { readonly name: string; readonly value: number }[]
}

export const K6_NOW: K6 = {
  iteration: 0,
  respond: () => ({ status: 0, headers: {}, body: null }),
  checks: [],
  counts: [],
}

const MODULES: Readonly<Record<string, string>> = {
  k6: `export const check = (value, sets, tags) => {
    for (const [name, test] of Object.entries(sets)) now.checks.push({ name, ok: test(value), tags })
  }`,
  'k6/http': `export default {
    request: (method, url, body, params) => now.respond({ method, url, body, params }),
    get: (url, params) => now.respond({ method: 'GET', url, body: null, params }),
    expectedStatuses: (...statuses) => statuses,
  }`,
  'k6/execution': `export default { scenario: { get iterationInTest() { return now.iteration } } }`,
  'k6/metrics': `export class Counter {
    constructor(name) { this.name = name }
    add(value) { now.counts.push({ name: this.name, value }) }
  }`,
}

const FOLDER = new URL('loadtest/', `file://${ROOT}/`).href
const globals = globalThis as Record<string, unknown>

/** Loads `loadtest/NAME.js` with this environment. */
export async function loadScript(name: string, env: Readonly<Record<string, string>>): Promise<K6Script> {
  globals['__ENV'] = env
  globals['__K6'] = K6_NOW
  globals['open'] = (file: string) => `content of ${file}`
  const hooks = registerHooks({
    resolve: (specifier, context, next) => {
      const source = MODULES[specifier]
      if (source !== undefined) {
        const text = `const now = globalThis.__K6\n${source}`
        return { url: `data:text/javascript,${encodeURIComponent(text)}`, format: 'module', shortCircuit: true }
      }
      const resolved = next(specifier, context)
      const query = context.parentURL === undefined ? '' : new URL(context.parentURL).search
      return resolved.url.startsWith(FOLDER) && query !== ''
        ? { ...resolved, url: `${resolved.url}${query}` }
        : resolved
    },
  })
  try {
    const query = new URLSearchParams(env).toString()
    return (await import(`${path.join(ROOT, 'loadtest', `${name}.js`)}?k6&${query}`)) as K6Script
  } finally {
    hooks.deregister()
  }
}

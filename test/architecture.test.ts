/**
 * The layer table, enforced (docs/architecture.md explains it). Reads the sources as text: every import in this code base is
 * a static string, so a regular expression sees them all, and the checks below are run over made-up sources too, so that
 * they are known to fail when they should.
 */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { builtinModules } from 'node:module'
import path from 'node:path'
import { test } from 'node:test'

const ROOT = path.resolve(import.meta.dirname, '..')
const ALL = [
  'core',
  'model',
  'config',
  'identity',
  'policy',
  'routing',
  'forward',
  'observe',
  'runtime',
  'gates',
  'listeners',
  'app',
  'cli',
  'testing',
] as const
type Layer = (typeof ALL)[number]

type LayerRule = {
  /** Folders of src/ it may import besides itself. */
  readonly layers: readonly Layer[]
  /** Modules of Node it may import; `any` where the layer's work is I/O. */
  readonly node: readonly string[] | 'any'
}

const without = (...names: readonly Layer[]) => ALL.filter((layer) => !names.includes(layer))

/** Who may know whom. `listeners` cannot even name a VirtualService; `policy` and `routing` cannot do I/O. */
const LAYERS: Record<Layer, LayerRule> = {
  core: { layers: [], node: ['node:net'] },
  model: { layers: ['core'], node: [] },
  config: { layers: ['core', 'model'], node: 'any' },
  identity: { layers: ['core', 'model'], node: 'any' },
  policy: { layers: ['core', 'model'], node: [] },
  routing: { layers: ['core', 'model'], node: [] },
  forward: { layers: ['core', 'model', 'identity'], node: 'any' },
  observe: { layers: ['core', 'model'], node: 'any' },
  runtime: {
    layers: ['core', 'model', 'identity', 'policy', 'routing', 'forward', 'observe'],
    node: 'any',
  },
  gates: { layers: ['core', 'model', 'identity', 'policy', 'forward', 'observe', 'runtime'], node: 'any' },
  listeners: { layers: ['core', 'model', 'runtime', 'identity', 'forward', 'observe'], node: 'any' },
  app: { layers: without('cli', 'testing'), node: 'any' },
  cli: { layers: without('testing'), node: 'any' },
  testing: { layers: ALL, node: 'any' },
}

/** Each third-party package has one owner: that is how a doubtful one stays replaceable. Folders end in `/`. */
const OWNERS: Record<string, readonly string[]> = {
  yaml: ['src/config/'],
  zod: ['src/config/'],
  '@peculiar/x509': ['src/identity/certificate.ts', 'src/identity/mint.ts'],
  'reflect-metadata': ['src/identity/certificate.ts', 'src/identity/mint.ts'],
  'http-proxy': ['src/forward/http-proxy.ts'],
  pino: ['src/observe/'],
  'prom-client': ['src/observe/'],
  jose: ['src/gates/jwt/'],
  ioredis: ['src/gates/redis/client.ts'],
  // In core because configuration validates expressions with the very compiler that routing matches with.
  re2js: ['src/core/regex.ts'],
}

/** Longer than 300 lines, and why they are one noun all the same. Nothing may pass 400. */
const LONG_FILES: Record<string, string> = {
  'src/observe/access-log/operators.ts': 'one table, a row per operator of Envoy’s',
}

type Source = { readonly file: string; readonly text: string }

/** Comments hold examples; a `//` inside a string has no blank before it. */
const withoutComments = (text: string) => text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|\s)\/\/.*$/gm, '$1')

/** Specifiers of static, dynamic, side-effect and `require` imports, and of re-exports. */
function specifiersOf(text: string): string[] {
  const code = withoutComments(text)
  const found: string[] = []
  for (const pattern of [
    /^\s*(?:import|export)\s[^'"`;]*?\bfrom\s*['"]([^'"]+)['"]/gm,
    /^\s*import\s*['"]([^'"]+)['"]/gm,
    /\b(?:import|require|require\.resolve)\(\s*['"`]([^'"`]+)['"`]/g,
  ])
    for (const match of code.matchAll(pattern)) if (match[1] !== undefined) found.push(match[1])
  return found
}

/** `@scope/name/x` → `@scope/name`, `name/x` → `name`. */
const packageOf = (specifier: string) => /^(?:@[^/]+\/)?[^/]+/.exec(specifier)?.[0] ?? specifier

const isLayer = (name: string): name is Layer => (ALL as readonly string[]).includes(name)

function importProblems({ file, text }: Source): string[] {
  const problems: string[] = []
  const folder = file.split('/')[1] ?? ''
  const isTest = file.endsWith('.test.ts')
  const rule = isLayer(folder) ? LAYERS[folder] : null
  if (rule === null && file !== 'src/main.ts') return [`${file}: src/${folder} is not a layer`]
  for (const specifier of specifiersOf(text)) {
    if (specifier.startsWith('.')) {
      const target = path.posix.normalize(path.posix.join(path.posix.dirname(file), specifier))
      const layer = target.split('/')[1] ?? ''
      if (!specifier.endsWith('.ts') && !specifier.endsWith('.json'))
        problems.push(`${file}: ${specifier} lacks its extension`)
      // A test beside its source may use anything: it is no part of the program.
      const allowed = file === 'src/main.ts' ? ['cli'] : rule === null ? [] : [folder, ...rule.layers]
      if (!isTest && target.startsWith('src/') && !allowed.includes(layer))
        problems.push(`${file}: ${folder} may not import ${layer} (${specifier})`)
      if (!isTest && !target.startsWith('src/') && target !== 'package.json')
        problems.push(`${file}: ${specifier} lies outside src`)
    } else if (specifier.startsWith('node:')) {
      if (!isTest && rule !== null && rule.node !== 'any' && !rule.node.includes(specifier))
        problems.push(`${file}: ${folder} may not import ${specifier}`)
    } else if (builtinModules.includes(specifier)) {
      problems.push(`${file}: write node:${specifier}`)
    } else {
      const owners = OWNERS[packageOf(specifier)]
      const owns = owners?.some((owner) => (owner.endsWith('/') ? file.startsWith(owner) : file === owner)) ?? false
      if (
        !owns &&
        !(isTest && (owners !== undefined || ['fast-check', '@kubernetes-models/istio'].includes(packageOf(specifier))))
      )
        problems.push(
          `${file}: ${specifier} belongs to ${owners?.join(', ') ?? 'nobody (a new package needs a decision page)'}`,
        )
    }
  }
  return problems
}

function styleProblems({ file, text }: Source): string[] {
  const problems: string[] = []
  const code = withoutComments(text)
  const folder = file.split('/')[1] ?? ''
  const lines = text.split('\n').length - (text.endsWith('\n') ? 1 : 0)
  if (!file.endsWith('.test.ts')) {
    if (lines > 400) problems.push(`${file}: ${lines} lines; look for the second noun`)
    else if (lines > 300 && LONG_FILES[file] === undefined)
      problems.push(`${file}: ${lines} lines; split it, or give the reason in LONG_FILES`)
    if (!text.startsWith('/**')) problems.push(`${file}: begins without a doc comment that says what it owns`)
  }
  // A .d.ts describes somebody else's module, default export and all.
  if (!file.endsWith('.d.ts') && /\bexport\s+default\b/.test(code)) problems.push(`${file}: default export`)
  if (/\bexport\s+\*\s/.test(code)) problems.push(`${file}: barrel (export *)`)
  if (/(^|\/)(utils?|helpers?|misc|common)\.ts$/.test(file)) problems.push(`${file}: not a noun`)
  if (folder !== 'cli' && /\bconsole\s*\./.test(code)) problems.push(`${file}: console.`)
  if (
    (folder === 'policy' || folder === 'routing') &&
    !file.endsWith('.test.ts') &&
    /\bDate\.now\b|\bnew Date\(\)|\bMath\.random\b|\bperformance\.now\b|\bprocess\.|\bsetTimeout\b|\bsetInterval\b|\bfetch\(/.test(
      code,
    )
  )
    problems.push(`${file}: ${folder} has no clock, no randomness, no process`)
  return problems
}

function sources(): Source[] {
  return readdirSync(path.join(ROOT, 'src'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => path.join(entry.parentPath, entry.name))
    .sort()
    .map((full) => ({ file: path.relative(ROOT, full).split(path.sep).join('/'), text: readFileSync(full, 'utf8') }))
}

test('the walk sees the sources', () => {
  assert.ok(sources().length >= 50, `only ${sources().length} files: is the walk broken?`)
})

test('imports follow the layers, and each package has one owner', () => {
  assert.deepEqual(sources().flatMap(importProblems), [])
})

test('files are short, documented, without default exports, barrels and console output', () => {
  assert.deepEqual(sources().flatMap(styleProblems), [])
})

test('every exception to the length rule is still needed', () => {
  const lengths = new Map(sources().map(({ file, text }) => [file, text.split('\n').length - 1]))
  for (const file of Object.keys(LONG_FILES)) assert.ok((lengths.get(file) ?? 0) > 300, `${file} is short now`)
})

test('every dependency has an owner, and every owner a dependency', () => {
  const manifest = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as {
    readonly dependencies: Readonly<Record<string, string>>
  }
  assert.deepEqual(Object.keys(OWNERS).sort(), Object.keys(manifest.dependencies).sort())
})

test('the checks fail when they should', () => {
  const doc = '/** x */\n'
  const bad: readonly (readonly [file: string, text: string, complaint: RegExp])[] = [
    ['src/core/a.ts', "import { x } from '../model/x.ts'", /core may not import model/],
    ['src/listeners/a.ts', "import type {\n  X,\n} from '../config/x.ts'", /listeners may not import config/],
    ['src/policy/a.ts', "import fs from 'node:fs'", /policy may not import node:fs/],
    ['src/routing/a.ts', 'const x = Math.random()', /no randomness/],
    ['src/runtime/a.ts', "export { x } from '../testing/x.ts'", /runtime may not import testing/],
    ['src/app/a.ts', "const x = await import('../cli/x.ts')", /app may not import cli/],
    ['src/forward/a.ts', "const x = require('http-proxy/lib/http-proxy/common')", /http-proxy.* belongs to/],
    ['src/observe/a.ts', "import { z } from 'zod'", /zod belongs to src\/config\//],
    ['src/observe/a.ts', "import 'left-pad'", /belongs to nobody/],
    ['src/observe/a.ts', "import net from 'net'", /write node:net/],
    ['src/extra/a.ts', '', /not a layer/],
    ['src/core/a.ts', "import { x } from './b'", /lacks its extension/],
    ['src/core/a.ts', "import { x } from '../../demo/b.ts'", /outside src/],
    ['src/core/a.ts', 'export default 1', /default export/],
    ['src/core/a.ts', "export * from './b.ts'", /barrel/],
    ['src/app/a.ts', 'console.log(1)', /console/],
    ['src/core/utils.ts', '', /not a noun/],
    ['src/core/a.ts', '\n'.repeat(400), /second noun/],
    ['src/core/a.ts', '\n'.repeat(310), /LONG_FILES/],
  ]
  for (const [file, text, complaint] of bad) {
    const source = { file, text: doc + text }
    assert.match([...importProblems(source), ...styleProblems(source)].join('\n'), complaint, `${file}: ${text}`)
  }
  assert.match(styleProblems({ file: 'src/core/a.ts', text: 'export const a = 1\n' }).join('\n'), /doc comment/)
  const good = {
    file: 'src/cli/a.ts',
    text: `${doc}import { x } from '../app/x.ts'\nconsole.log(x) // import('../testing/x')\n`,
  }
  assert.deepEqual([...importProblems(good), ...styleProblems(good)], [])
})

/**
 * A Dockerfile, done without a container engine: every stage becomes a directory, COPY copies (through .dockerignore), RUN runs
 * in it. What an engine adds (the base image's files, the isolation) is not there: commands find this machine's npm and the
 * pinned Node, and see the stage's WORKDIR below the directory. An instruction this does not know is an error.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, statSync, symlinkSync } from 'node:fs'
import path from 'node:path'
import { DockerfileParser, type Instruction, type JSONInstruction, type ModifiableInstruction } from 'dockerfile-ast'

/** What the last stage says about containers made from it. */
export type Image = {
  /** The directory that stands for `/`. */
  readonly root: string
  readonly workdir: string
  readonly user: string
  readonly env: Readonly<Record<string, string>>
  readonly entrypoint: readonly string[]
  readonly cmd: readonly string[]
  readonly healthcheck: readonly string[]
  readonly ports: readonly number[]
}

type Stage = { -readonly [Key in keyof Image]: Image[Key] } & { readonly name: string | null }

/** Does what the Dockerfile in `context` says, below `scratch`. @throws when a command fails */
export function buildImage(context: string, scratch: string): Image {
  const stages: Stage[] = []
  const ignored = dockerignore(readFileSync(path.join(context, '.dockerignore'), 'utf8'))
  const tools = toolsIn(scratch)
  for (const instruction of DockerfileParser.parse(
    readFileSync(path.join(context, 'Dockerfile'), 'utf8'),
  ).getInstructions()) {
    const keyword = instruction.getKeyword()
    const words = instruction.getArguments().map((argument) => argument.getValue())
    if (keyword === 'ARG' || keyword === 'LABEL' || keyword === 'STOPSIGNAL') continue
    if (keyword === 'FROM') {
      stages.push(newStage(path.join(scratch, `stage${stages.length}`), words))
      continue
    }
    const stage = stages.at(-1)
    assert.ok(stage !== undefined, `${keyword} before FROM`)
    if (keyword === 'WORKDIR') {
      stage.workdir = words[0] ?? '/'
      mkdirSync(path.join(stage.root, stage.workdir), { recursive: true })
    } else if (keyword === 'COPY') copy(stage, stages, flagsOf(instruction), words, context, ignored)
    else if (keyword === 'RUN') run(stage, words, tools)
    else if (keyword === 'ENV') stage.env = { ...stage.env, ...environmentOf(words) }
    else if (keyword === 'USER') stage.user = words.join(' ')
    else if (keyword === 'EXPOSE') stage.ports = words.map(Number)
    else if (keyword === 'ENTRYPOINT') stage.entrypoint = jsonOf(instruction)
    else if (keyword === 'CMD') stage.cmd = jsonOf(instruction)
    else if (keyword === 'HEALTHCHECK') {
      assert.equal(words[0], 'CMD')
      stage.healthcheck = JSON.parse(words.slice(1).join(' ')) as string[]
    } else assert.fail(`this test does not know ${keyword}`)
  }
  return stages.at(-1) ?? assert.fail('no stage')
}

function newStage(root: string, words: readonly string[]): Stage {
  const as = words.findIndex((word) => word.toUpperCase() === 'AS')
  mkdirSync(root, { recursive: true })
  return {
    name: as === -1 ? null : (words[as + 1] ?? null),
    root,
    workdir: '/',
    user: '0:0',
    env: {},
    entrypoint: [],
    cmd: [],
    healthcheck: [],
    ports: [],
  }
}

const flagsOf = (instruction: Instruction): Readonly<Record<string, string>> =>
  Object.fromEntries(
    (instruction as ModifiableInstruction).getFlags().map((flag) => [flag.getName(), flag.getValue() ?? '']),
  )

/** The exec form only: the shell form would need a shell in the image. */
function jsonOf(instruction: Instruction): string[] {
  const strings = (instruction as JSONInstruction).getJSONStrings().map((each) => each.getJSONValue())
  assert.ok(strings.length > 0, `${instruction.getKeyword()} must be a list`)
  return strings
}

/** `A=b C="d e"`; what refers to another variable stays as it is. */
function environmentOf(words: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    words.map((word) => {
      const [, name = '', value = ''] = /^([A-Z_]+)="?(.*?)"?$/s.exec(word) ?? assert.fail(`ENV ${word}`)
      return [name, value]
    }),
  )
}

function copy(
  stage: Stage,
  stages: readonly Stage[],
  flags: Readonly<Record<string, string>>,
  words: readonly string[],
  context: string,
  ignored: (file: string) => boolean,
): void {
  const from = flags['from'] === undefined ? null : stages.find(({ name }) => name === flags['from'])
  assert.ok(from !== undefined, `COPY --from=${flags['from']}: no such stage`)
  const target = words.at(-1) ?? ''
  for (const source of words.slice(0, -1)) {
    const root = from?.root ?? context
    const file = path.join(root, source)
    assert.ok(existsSync(file) && (from !== null || !ignored(source)), `COPY ${source}: not in the context`)
    // As Docker: the content of a directory, a file by its name.
    const to = path.join(
      stage.root,
      path.resolve(stage.workdir, target),
      statSync(file).isFile() ? path.basename(source) : '',
    )
    cpSync(file, to, {
      recursive: true,
      verbatimSymlinks: true,
      filter: (each) => from !== null || !ignored(path.relative(root, each)),
    })
  }
}

function run(stage: Stage, words: readonly string[], tools: string): void {
  const command = words.join(' ')
  assert.doesNotMatch(
    command,
    /(^|\s)\//,
    'here a RUN has no file system of its own: write paths relative to the WORKDIR',
  )
  const { status, stdout, stderr } = spawnSync('sh', ['-c', command], {
    cwd: path.join(stage.root, stage.workdir),
    encoding: 'utf8',
    env: {
      ...process.env,
      PATH: `${tools}:${process.env['PATH']}`,
      NODE_ENV: undefined,
      NODE_OPTIONS: undefined,
      npm_config_prefer_offline: 'true',
    },
  })
  assert.equal(status, 0, `RUN ${command}\n${stdout}${stderr}`)
}

/** A directory with a `node` that is the pinned one: the base image's. */
function toolsIn(scratch: string): string {
  const tools = path.join(scratch, 'tools')
  mkdirSync(tools, { recursive: true })
  symlinkSync(process.execPath, path.join(tools, 'node'))
  return tools
}

/** .dockerignore: the last pattern that fits a path or a folder above it decides. */
export function dockerignore(text: string): (file: string) => boolean {
  const patterns = text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => ({ ignores: !line.startsWith('!'), pattern: globPattern(line.replace(/^!/, '')) }))
  return (file) => {
    const steps = file.split('/')
    const above = steps.map((_, index) => steps.slice(0, index + 1).join('/'))
    const last = patterns.findLast(({ pattern }) => above.some((each) => pattern.test(each)))
    return file !== '' && last !== undefined && last.ignores
  }
}

/** Docker's patterns: `*` is any name, also one with a leading dot; `**` any number of folders. */
function globPattern(glob: string): RegExp {
  const parts = { '**/': '(?:.*/)?', '*': '[^/]*' } as const
  const source = glob
    .split(/(\*\*\/|\*)/)
    .map((part) => (part in parts ? parts[part as keyof typeof parts] : part.replaceAll(/[.+?^${}()|[\]\\]/g, '\\$&')))
  return new RegExp(`^${source.join('')}$`)
}

/** Everything under k8s/ renders, as kustomize itself renders it, and every object is one that its API knows. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, test } from 'node:test'
import { parseAllDocuments } from 'yaml'
import { idOf, type Manifest, readManifests, render } from './kustomize.ts'
import { asTypeScript, typeErrors, validate } from './models.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')
const K8S = path.join(ROOT, 'k8s')

const FILES = readdirSync(K8S, { recursive: true, encoding: 'utf8' })
const KUSTOMIZATIONS = FILES.filter((file) => path.basename(file) === 'kustomization.yaml')
  .map((file) => path.dirname(file))
  .filter((dir) => !dir.startsWith('components/'))
  .sort()
/** Files that hold resources for the gateway or the mesh, not for a kustomization. */
const MOUNTED = [
  'base/resources/gateway.yaml',
  'examples/allow-one-host/httpbin.yaml',
  'examples/in-istio-system/resources/gateway.yaml',
]
const BY_HAND = ['app-namespace/in-cluster-traffic.yaml']

const byId = (objects: readonly Manifest[]) =>
  Object.fromEntries(objects.map((each) => [idOf(each), each] as const).sort(([a], [b]) => (a < b ? -1 : 1)))

test('there are kustomizations', () => {
  assert.deepEqual(KUSTOMIZATIONS, [
    'app-namespace',
    'base',
    'examples/allow-one-host',
    'examples/in-istio-system',
    'overlays/cert-manager-csi',
    'overlays/dedicated-nodes',
    'overlays/istio-agent',
    'overlays/shared-limits',
  ])
})

function byKubectl(dir: string): readonly Manifest[] {
  const { status, stdout, stderr } = spawnSync('kubectl', ['kustomize', dir], { encoding: 'utf8' })
  assert.equal(status, 0, stderr)
  return parseAllDocuments(stdout).map((document) => document.toJS() as Manifest)
}

const kubectl = spawnSync('kubectl', ['version', '--client', '-o', 'json'], { encoding: 'utf8' })
const version = kubectl.status === 0 ? /"kustomizeVersion":\s*"(v\d+)/.exec(kubectl.stdout)?.[1] : undefined
// Debian's kubectl 1.20 has kustomize 2, which knows neither components nor labels.
const skip = version === 'v5' ? false : 'no kubectl with kustomize 5: renderings are not compared with the real one'

for (const dir of KUSTOMIZATIONS) {
  test(`${dir}: every object fits the schema of its kind`, () => {
    const objects = render(path.join(K8S, dir))
    assert.ok(objects.length > 0)
    for (const each of objects) validate(each)
  })

  test(`${dir} is rendered as kubectl kustomize renders it`, { skip }, () => {
    assert.deepEqual(byId(render(path.join(K8S, dir))), byId(byKubectl(path.join(K8S, dir))))
  })
}

for (const file of [...MOUNTED, ...BY_HAND])
  test(`${file}: every document fits the schema of its kind`, () => {
    for (const each of readManifests(path.join(K8S, file))) validate(each)
  })

test('no YAML file lies about unused', () => {
  const used = new Set([...MOUNTED, ...BY_HAND])
  const bootstraps = ['base/config', 'overlays/cert-manager-csi', 'examples/in-istio-system']
  for (const file of FILES.filter((each) => path.basename(each) === 'kustomization.yaml')) {
    used.add(file)
    const dir = path.dirname(file)
    const text = readFileSync(path.join(K8S, file), 'utf8')
    for (const [, name = ''] of text.matchAll(/([\w./-]+\.yaml)/g)) used.add(path.join(dir, name))
  }
  for (const file of bootstraps) assert.ok(used.has(`${file}/gateway.yaml`), file)
  assert.deepEqual(
    FILES.filter((file) => file.endsWith('.yaml') && !used.has(file)),
    [],
  )
})

describe('keys', () => {
  const objects = [
    ...KUSTOMIZATIONS.flatMap((dir) => render(path.join(K8S, dir))),
    ...[...MOUNTED, ...BY_HAND].flatMap((file) => readManifests(path.join(K8S, file))),
  ]

  test('no object has a key that its API does not know', () => {
    const text = objects.map((each, index) => asTypeScript(each, `object${index}`)).join('')
    assert.deepEqual(typeErrors({ objects: text }), [])
  })

  test('a misspelt key deep in a pod would be seen, and so would a wrong type', () => {
    const deployment = objects.find(({ kind }) => kind === 'Deployment')
    assert.ok(deployment !== undefined)
    const text = asTypeScript(deployment, 'deployment')
    const errors = typeErrors({
      misspelt: text.replace('"readinessProbe"', '"readinesProbe"'),
      mistyped: text.replace('"automountServiceAccountToken":false', '"automountServiceAccountToken":"false"'),
    })
    assert.equal(errors.length, 2, errors.join('\n'))
    assert.match(errors[0] ?? '', /^misspelt\.ts: .*readinesProbe/)
    assert.match(errors[1] ?? '', /^mistyped\.ts: /)
  })
})

test('the README’s own kustomization renders: its image, its resources, in the base’s ConfigMap', () => {
  const readme = readFileSync(path.join(K8S, 'README.md'), 'utf8')
  const text = /^cat > kustomization\.yaml <<'YAML'\n(.*?)^YAML$/ms.exec(readme)?.[1]
  const copied = /^cp \.\.\/(\S+) \.$/m.exec(readme)?.[1]
  assert.ok(text !== undefined && copied !== undefined)
  const dir = mkdtempSync(path.join(tmpdir(), 'sallyport-readme-'))
  try {
    for (const name of ['k8s', 'observability'])
      cpSync(path.join(ROOT, name), path.join(dir, name), { recursive: true })
    mkdirSync(path.join(dir, 'my-egress'))
    writeFileSync(path.join(dir, 'my-egress/kustomization.yaml'), text)
    cpSync(path.join(dir, copied), path.join(dir, 'my-egress', path.basename(copied)))
    const ours = byId(render(path.join(dir, 'my-egress')))
    if (skip === false) assert.deepEqual(ours, byId(byKubectl(path.join(dir, 'my-egress'))))
    const resources = ours['ConfigMap istio-egress/sallyport-resources']?.['data'] as object
    assert.deepEqual(Object.keys(resources).toSorted(), ['gateway.yaml', path.basename(copied)])
    const deployment = JSON.stringify(ours['Deployment istio-egress/istio-egressgateway'])
    assert.ok(deployment.includes('"image":"registry.example.com/sallyport:0.1.0"'))
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
})

describe('the renderer', () => {
  const rendered = (files: Readonly<Record<string, string>>) => {
    const dir = mkdtempSync(path.join(tmpdir(), 'sallyport-kustomize-'))
    try {
      for (const [name, text] of Object.entries(files)) {
        mkdirSync(path.dirname(path.join(dir, name)), { recursive: true })
        writeFileSync(path.join(dir, name), text)
      }
      return render(path.join(dir, 'k'))
    } finally {
      rmSync(dir, { recursive: true, force: true })
    }
  }
  const service = 'apiVersion: v1\nkind: Service\nmetadata: { name: a }\nspec: { ports: [{ port: 80 }] }\n'

  for (const [what, files, message] of [
    ['a field it does not know', { 'k/kustomization.yaml': 'kind: Kustomization\nnamePrefix: x-\n' }, /namePrefix/],
    ['a name suffix', { 'k/kustomization.yaml': 'configMapGenerator: [{ name: a, files: [] }]\n' }, /suffixes/],
    [
      'a file above the kustomization',
      { 'k/kustomization.yaml': 'resources: [../a.yaml]\n', 'a.yaml': service },
      /above the kustomization/,
    ],
    [
      'one object twice',
      { 'k/kustomization.yaml': 'resources: [a.yaml, b.yaml]\n', 'k/a.yaml': service, 'k/b.yaml': service },
      /Service \/a twice/,
    ],
    [
      'a patch of nothing',
      { 'k/kustomization.yaml': 'patches: [{ path: a.yaml }]\n', 'k/a.yaml': service },
      /0 targets/,
    ],
    [
      'a list whose key it does not know',
      {
        'k/kustomization.yaml': 'resources: [a.yaml]\npatches: [{ path: b.yaml }]\n',
        'k/a.yaml': service,
        'k/b.yaml': service,
      },
      /ports: how to merge/,
    ],
  ] as const)
    test(`refuses ${what}`, () => {
      assert.throws(() => rendered(files), message)
    })
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { testResource } from '../testing/resources.ts'
import { cronJob, pod, templatedWorkloads } from './kinds/workload.ts'
import type { Resource } from './resource.ts'
import { learnWorkloads } from './workloads.ts'

type Labels = Readonly<Record<string, string>>

function templated(kind: string, name: string, account: string | null, labels: Labels, namespace = 'mytest'): Resource {
  const module = templatedWorkloads.find((each) => each.kind === kind)
  assert.ok(module !== undefined)
  const spec = { containers: [], ...(account === null ? {} : { serviceAccountName: account }) }
  return testResource(module, { name, namespace }, { replicas: 1, template: { metadata: { labels }, spec } })
}

const selector = { app: 'sleep-a' }
const accountsFor = (resources: readonly Resource[], wanted: Labels = selector) =>
  learnWorkloads(resources).serviceAccountsFor('mytest', wanted)
const kindsOf = (resources: readonly Resource[]) => accountsFor(resources).problems.map(({ kind }) => kind)

test('a workload with the labels stands for its service account', () => {
  const found = accountsFor([templated('Deployment', 'sleep-a', 'sleep-a', { app: 'sleep-a', version: 'v1' })])
  assert.deepEqual(found, { accounts: ['sleep-a'], problems: [] })
})

test('every kind of workload is learnt from', () => {
  for (const kind of ['Deployment', 'StatefulSet', 'DaemonSet', 'Job'])
    assert.deepEqual(accountsFor([templated(kind, 'w', 'acc', selector)]).accounts, ['acc'], kind)
  const podSpec = { serviceAccountName: 'acc' }
  const single = testResource(pod, { name: 'w', namespace: 'mytest', labels: selector }, podSpec)
  assert.deepEqual(accountsFor([single]).accounts, ['acc'])
  const template = { metadata: { labels: selector }, spec: podSpec }
  const job = { schedule: '@daily', jobTemplate: { spec: { template } } }
  assert.deepEqual(accountsFor([testResource(cronJob, { name: 'w', namespace: 'mytest' }, job)]).accounts, ['acc'])
})

test('no service account is the account "default"', () => {
  assert.deepEqual(accountsFor([templated('Deployment', 'w', null, selector)]).accounts, ['default'])
  assert.deepEqual(accountsFor([templated('Deployment', 'w', '', selector)]).accounts, ['default'])
})

test('nothing known: nobody matches, and the message says what to mount', () => {
  for (const resources of [
    [],
    [templated('Deployment', 'sleep-a', 'a', selector, 'other')],
    [templated('Deployment', 'sleep-b', 'a', { app: 'sleep-b' })],
    [templated('Deployment', 'bare', 'a', {})],
  ]) {
    const { accounts, problems } = accountsFor(resources)
    assert.deepEqual(accounts, [])
    assert.equal(problems.length, 1)
    assert.equal(problems[0]?.kind, 'unknown')
    assert.match(problems[0]?.message ?? '', /mytest with app=sleep-a/)
  }
})

test('an account shared with a workload without the labels matches nobody, whatever the order', () => {
  const carrier = templated('Deployment', 'sleep-a', 'shared', selector)
  const other = templated('StatefulSet', 'nginx', 'shared', { app: 'nginx' })
  for (const resources of [
    [carrier, other],
    [other, carrier],
  ]) {
    const { accounts, problems } = accountsFor(resources)
    assert.deepEqual(accounts, [])
    assert.equal(problems[0]?.kind, 'shared')
    assert.match(problems[0]?.message ?? '', /Deployment mytest\/sleep-a .*StatefulSet mytest\/nginx/)
  }
})

test('one clean account matches beside a shared one', () => {
  const resources = [
    templated('Deployment', 'clean', 'clean', selector),
    templated('Deployment', 'carrier', 'shared', selector),
    templated('Deployment', 'other', 'shared', {}),
  ]
  assert.deepEqual(accountsFor(resources).accounts, ['clean'])
  assert.deepEqual(kindsOf(resources), ['shared'])
})

test('all labels of the selector are needed, and inherited names are no labels', () => {
  const resources = [templated('Deployment', 'w', 'acc', { app: 'sleep-a', tier: 'web' })]
  assert.deepEqual(accountsFor(resources, { app: 'sleep-a', tier: 'web' }).accounts, ['acc'])
  assert.deepEqual(accountsFor(resources, { app: 'sleep-a', tier: 'db' }).accounts, [])
  assert.deepEqual(accountsFor(resources, { toString: 'x' }).accounts, [])
})

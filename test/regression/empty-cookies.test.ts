/** An empty `Cookie` behind another left as `a=b; `, which the site reads without the blank: not what was judged. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { joinCookies, outgoingHeaders } from '../../src/core/headers.ts'

test('several cookie fields leave as one, empty ones as nothing', () => {
  const rules = {
    authority: 'a.example',
    nominated: new Set<string>(),
    external: true,
    propagateTrace: true,
    requestId: 'r',
    xForwardedFor: '',
    scheme: 'http',
    te: false,
    via: null,
  } as const
  for (const [fields, expected] of [
    [['a=b', ''], 'a=b'],
    [['', 'a=b'], 'a=b'],
    [['', ''], ''],
    [['a=b', '', 'c=d'], 'a=b; c=d'],
  ] as const) {
    const sent = outgoingHeaders(
      fields.flatMap((value) => ['cookie', value]),
      rules,
    )
    assert.equal(sent[sent.indexOf('cookie') + 1], expected)
    assert.equal(sent.filter((name, i) => i % 2 === 0 && name === 'cookie').length, 1)
    assert.equal(fields.reduce<string>(joinCookies, ''), expected)
  }
})

// Calls of the JSON API, and the forms that make them. See notifications.js.
'use strict'

async function call(method, url, body, headers = {}) {
  try {
    const answer = await fetch(url, {
      method,
      headers: body === undefined ? headers : { 'Content-Type': 'application/json', ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
    })
    const text = await answer.text()
    let data = {}
    if (answer.headers.get('content-type')?.startsWith('text/html')) return { ok: answer.ok, status: answer.status, data: { html: text } }
    try { data = text ? JSON.parse(text) : {} } catch { data = { code: 'offline' } }
    if (data.codes && language !== 'en') await translate(data)
    if (answer.ok && banner.dataset.what === 'signed_out') setBanner()
    return { ok: answer.ok, status: answer.status, data }
  } catch {
    return { ok: false, status: 0, data: { code: 'offline' } }
  }
}

// Translates an answer into the reader's language: ``told`` has the sentences that have a code, by their keys.
async function translate(data) {
  data.told = {}
  try {
    const answer = await fetch('/pages/workshop/told', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(data.codes) })
    if (answer.ok) data.told = await answer.json() ?? {}
  } catch { /* The answer came, and counts: its sentences stay English. */ }
  data.warnings = data.warnings?.map((text, at) => data.told.warnings?.[at] ?? text)
}

// The request of a button or form: "POST /api/projects/{id}/stop", filled with the values of its object.
function target(element, values) {
  const [method, url] = element.dataset.call.split(' ')
  return [method, filled(url, values)]
}

function subject(element) {
  return { ...(element.closest('[data-id]')?.dataset ?? {}), title: element.dataset.title }
}

async function onClick(button) {
  const values = subject(button)
  const body = button.dataset.body ? JSON.parse(button.dataset.body) : undefined
  await whileBusy(button, async () => {
    const answer = await call(...target(button, values), body)
    if (answer.ok) done(button, answer.data, values)
    else if (!signedOut(answer)) complain(sentence(answer.data))
  })
}

async function submit(form) {
  const values = { ...form.subject }
  clearFaults(form)
  if (form.dataset.shared !== undefined && await savedMeanwhile(form)) return
  const body = { ...JSON.parse(filled(form.dataset.body ?? '{}', values)), ...collect(form) }
  if (form.dataset.then === 'each') return submitEach(form, values.id.split(' '), values.names.split(', '), body)
  if ('name' in body) values.name = body.name
  if ('projectName' in body) values.name = body.projectName
  const headers = form.dataset.prefer ? { Prefer: form.dataset.prefer } : {}
  await whileBusy($('[type=submit]', form), async () => {
    const answer = await call(...target(form, values), body, headers)
    if (form.dataset.then === 'seat' && answer.data.workspaceUrl) showSeat(form, answer.data)
    else if (answer.ok) {
      if (form.dataset.shared !== undefined) for (const field of $$('textarea', form)) field.defaultValue = field.value
      done(form, answer.data, values)
    } else if (!signedOut(answer)) showFaults(form, answer.data)
    else $('.trouble', form).textContent = words.banner[banner.dataset.what] ?? ''
  })
}

// For texts with several authors: do not silently overwrite another person's newer version.
async function savedMeanwhile(form) {
  let others = false
  for (const field of $$('textarea', form)) {
    const saved = await savedText(form, field)
    if (saved === undefined || saved === field.defaultValue) continue // what can't be read: the call itself says why
    const written = field.value
    field.defaultValue = saved
    field.value = written
    others = true
  }
  if (others) $('.trouble', form).textContent = words.saved_meanwhile
  return others
}

// The present saved text of a field: from the address that it was loaded from, or else from the page.
async function savedText(form, field) {
  const { load } = field.dataset
  const answer = await call('GET', load ? filled(load, form.subject) : location.href)
  if (!answer.ok) return undefined
  if (load) return answer.data[field.name]
  return new DOMParser().parseFromString(answer.data.html ?? '', 'text/html').getElementById(field.id)?.defaultValue
}

// One call per object, a few at a time, like the API, or as many as data-at-once says; failures are listed, the others
// continue.
async function submitEach(form, ids, names, body) {
  const button = $('[type=submit]', form)
  if (button.ariaBusy === 'true') return
  const progress = $('[data-progress]', form)
  const failed = new Map() // sentence -> names
  let next = 0
  let ended = 0
  const work = async () => {
    while (next < ids.length && !form.stopped) {
      const at = next++
      const answer = await call(...target(form, { id: ids[at] }), body)
      if (signedOut(answer)) return
      const why = sentence(answer.data)
      if (!answer.ok && answer.status !== 404) failed.set(why, [...(failed.get(why) ?? []), names[at]])
      progress.textContent = filled(progress.dataset.progress, { done: ++ended, total: ids.length })
    }
  }
  form.stopped = false
  await whileBusy(button, () => Promise.all(Array.from({ length: Number(form.dataset.atOnce ?? 4) }, work)))
  const told = [...failed].map(([why, of]) => `${why} (${of.join(', ')})`)
  if (failed.size) $('.trouble', form).textContent = told.join(' ')
  else form.closest('dialog').close()
  say(progress.textContent)
  progress.textContent = ''
}

async function whileBusy(button, work) {
  if (button.ariaBusy === 'true') return
  button.ariaBusy = 'true'
  button.ariaDisabled = 'true'
  const slow = setTimeout(() => { say(button.dataset.slow ?? words.busy); said.firstChild.dataset.busy = '' }, 1500)
  try { await work() } finally {
    clearTimeout(slow)
    $('[data-busy]', said)?.remove()
    button.ariaBusy = button.ariaDisabled = null
  }
}

function signedOut(answer) {
  const isSignIn = $('.door form')
  if (answer.status !== 401 || answer.data.code !== 'UNAUTHORIZED' || isSignIn) return false
  reloadPage('signed_out')
  return true
}

// The action after a successful call, from data-then.
function done(element, data, values) {
  const { then = 'close', done: text = '', again } = element.dataset
  element.closest('dialog')?.close()
  const behind = data.nodesBehind?.map((node) => node.error) ?? []
  if (behind.length) return say(behind.join(' '))
  if (then === 'reload') return reload(filled(text, values))
  if (then === 'gone' && location.pathname === `/workspaces/${values.id}`) {
    leaving = true
    return location.assign('/')
  }
  if (then === 'taken' && data.skipped?.length) return say(filled(words.skipped, { list: data.skipped.join(', ') }))
  if (then === 'show') present(document.getElementById(element.dataset.show), data[element.dataset.of], element)
  if (then === 'page') return showPage(document.getElementById(element.dataset.show), data.html)
  if (again) htmx.trigger(document.getElementById(again), 'again')
  say([filled(text, { ...values, ...data.project }), ...(data.warnings ?? [])].filter(Boolean).join(' '))
}

// Shows a new fragment from the server, such as the seats' cards.
function showPage(place, html) {
  place.innerHTML = html
  place.hidden = false
  place.scrollIntoView({ block: 'start' })
  place.focus({ preventScroll: true })
}

function present(place, text) {
  place.hidden = false
  $('pre', place).textContent = text
  const link = $('[data-download]', place)
  if (link.href) URL.revokeObjectURL(link.href)
  link.href = URL.createObjectURL(new Blob([text], { type: 'text/markdown' }))
  $('pre', place).focus()
}

// Shows a participant's seat, new or already claimed.
function showSeat(form, seat) {
  const place = document.getElementById(form.dataset.show)
  for (const element of $$('[data-of]', place)) element.textContent = seat[element.dataset.of] ?? ''
  for (const element of $$('[data-href]', place)) element.href = seat[element.dataset.href]
  for (const element of $$('[data-if]', place)) element.hidden = !seat[element.dataset.if]
  form.closest('section').hidden = true
  place.hidden = false
  place.focus()
}

// --- Forms ---------------------------------------------------------------------------------------------------------

// Collects a form's visible fields as the API's JSON. data-optional: omitted while empty. data-null: null while empty. data-lines: a list.
// data-also names a field that is true when this one is filled. "a.b" is the b of a; a checkbox of a says null for it.
// A checkbox is its value, or true.
function collect(form) {
  const body = {}
  for (const field of form.elements) {
    if (!field.name || field.disabled || (field.type !== 'hidden' && !field.checkVisibility())) continue
    const { optional, lines, also } = field.dataset
    const [name, part] = field.name.split('.')
    if (part) { if (field.value !== '') body[name] = { ...body[name], [part]: field.value } }
    else if (field.type === 'checkbox') { if (field.checked) body[field.name] = field.dataset.null === undefined ? field.getAttribute('value') ?? true : null }
    else if (field.type === 'radio') { if (field.checked) body[field.name] = field.value }
    else if (field.type === 'number') body[field.name] = field.value === '' ? null : Number(field.value)
    else if (lines !== undefined) body[field.name] = field.value.split(/[\s,;]+/).filter(Boolean)
    else if (field.value === '' && field.dataset.null !== undefined) body[field.name] = null
    else if (field.value !== '' || optional === undefined) body[field.name] = field.value
    if (also) body[also] = field.value !== ''
  }
  return body
}

function clearFaults(form) {
  for (const fault of $$('.fault', form)) fault.textContent = ''
  for (const field of $$('[aria-invalid]', form)) field.removeAttribute('aria-invalid')
  const trouble = $('.trouble', form)
  if (trouble) trouble.textContent = ''
}

// The name that the API has for the field, as the sentence of that code says it.
function fieldIn(code) {
  const { field, first } = code?.params ?? {}
  return field ?? (first?.params && fieldIn(first))
}

// English readers get the API's sentence, which contains the value, unless the field has its own text or is empty. The
// API's field name is for programs: people know the field by its label.
function faultOf(field, name, text, answer) {
  const own = field.dataset?.fault ?? (field.value === '' ? name : '')
  // A field's own text describes its format; other errors have their own texts.
  const rule = /^(VALIDATION_ERROR|INVALID_)/.test(answer.code)
  if (rule && words.fault[own]) return words.fault[own]
  const label = field.labels?.[0]?.textContent.trim().toLowerCase()
  const said = fieldIn(answer.codes?.details?.[name])
  if (language === 'en' && !plain.includes(answer.code)) return label && said ? text.replace(said, () => label) : text
  const told = plain.includes(answer.code) ? undefined : answer.told?.details?.[name]
  return (rule ? words.fault[name] ?? told ?? words.error[answer.code] : told ?? words.error[answer.code] ?? words.fault[name]) ?? text
}

function showFaults(form, answer) {
  const known = Object.entries(answer.details ?? {}).filter(([name]) => form.elements[name] && typeof answer.details[name] === 'string')
  for (const [name, text] of known) {
    const field = form.elements[name]
    const fault = $(`[id$="-${name}-fault"]`, form)
    if (fault) fault.textContent = faultOf(field, name, text, answer)
    if (field.setAttribute) field.setAttribute('aria-invalid', 'true')
  }
  // People find an entry of a list by its text; its index, from 0, is for programs.
  if (known.length === 0) $('.trouble', form).textContent = sentence(answer).replace(/^\w+\[\d+\] /, '')
  const first = known.length ? form.elements[known[0][0]] : null
  first?.focus?.()
}

// The pages' own script: dialogs, calls of the JSON API, the feed of changes, and times in the reader's words.
// Fragments are fetched and morphed by htmx. There is no build step; this file is what browsers get.
'use strict'

const words = JSON.parse(document.getElementById('words').textContent)
const language = document.documentElement.lang
const said = document.getElementById('said')
const faults = document.getElementById('faults')
const one = (selector, within = document) => within.querySelector(selector)
const all = (selector, within = document) => [...within.querySelectorAll(selector)]
const filled = (text, values) => text.replace(/\{(\w+)\}/g, (whole, key) => values[key] ?? whole)

// --- Saying things -------------------------------------------------------------------------------------------------

function say(text) {
  if (text) show(said, text, 7000)
}

function complain(text) {
  show(faults, text, 20000)
}

function show(place, text, milliseconds) {
  const note = document.createElement('div')
  note.className = 'note'
  const sentence = document.createElement('span')
  sentence.textContent = text
  const close = document.createElement('button')
  close.type = 'button'
  close.className = 'quiet'
  close.textContent = '×'
  close.setAttribute('aria-label', words.close)
  close.onclick = () => note.remove()
  note.append(sentence, close)
  place.replaceChildren(note)
  setTimeout(() => note.remove(), milliseconds)
}

// What participants can meet has its own words in each language; the API's own sentences are German there.
const plain = ['WORKSHOP_FULL', 'WORKSHOP_OVER', 'ALREADY_CLAIMED', 'WRONG_ACCESS_CODE', 'TOO_MANY_ATTEMPTS', 'UNAUTHORIZED',
  'INVALID_WORKSPACE_PASSWORD', 'offline']

// Other errors of the API are English sentences with details; readers of another language get theirs first.
function sentence(answer) {
  const own = words.error[answer.code]
  const detail = answer.message || answer.error
  if (own && plain.includes(answer.code)) return own
  if (!own) return detail || words.error.unknown
  return language === 'en' ? detail || own : own + (detail ? ` (${detail})` : '')
}

// What is to be said goes along to the page that comes.
function reload(text = '') {
  sessionStorage.setItem('said', text)
  location.reload()
}

say(sessionStorage.getItem('said'))
sessionStorage.removeItem('said')

// --- Calling the API -----------------------------------------------------------------------------------------------

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
    return { ok: answer.ok, status: answer.status, data }
  } catch {
    return { ok: false, status: 0, data: { code: 'offline' } }
  }
}

// What a button or form stands for: "POST /api/projects/{id}/stop", with the values of what it was opened for.
function target(element, values) {
  const [method, url] = element.dataset.call.split(' ')
  return [method, filled(url, values)]
}

function subject(element) {
  return { ...(element.closest('[data-id]')?.dataset ?? {}), title: element.dataset.title }
}

async function press(button) {
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
  const body = collect(form)
  if (form.dataset.then === 'each') return submitEach(form, values.id.split(' '), values.names.split(', '), body)
  if ('name' in body) values.name = body.name
  if ('projectName' in body) values.name = body.projectName
  const headers = form.dataset.prefer ? { Prefer: form.dataset.prefer } : {}
  await whileBusy(one('[type=submit]', form), async () => {
    const answer = await call(...target(form, values), body, headers)
    if (form.dataset.then === 'seat' && answer.data.workspaceUrl) showSeat(form, answer.data)
    else if (answer.ok) done(form, answer.data, values)
    else if (!signedOut(answer)) showFaults(form, answer.data)
  })
}

// One call for each of many, a few at a time, as the API runs them; what fails is named, the others go on.
async function submitEach(form, ids, names, body) {
  const progress = one('[data-progress]', form)
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
  await whileBusy(one('[type=submit]', form), () => Promise.all([work(), work(), work(), work()]))
  const told = [...failed].map(([why, of]) => `${why} (${of.join(', ')})`)
  if (failed.size) one('.trouble', form).textContent = told.join(' ')
  else form.closest('dialog').close()
  say(progress.textContent)
  progress.textContent = ''
}

async function whileBusy(button, work) {
  if (button.ariaBusy === 'true') return
  button.ariaBusy = 'true'
  button.ariaDisabled = 'true'
  const slow = setTimeout(() => { say(words.busy); said.firstChild.dataset.busy = '' }, 1500)
  try { await work() } finally {
    clearTimeout(slow)
    one('[data-busy]', said)?.remove()
    button.ariaBusy = button.ariaDisabled = null
  }
}

function signedOut(answer) {
  const isSignIn = one('.door form')
  if (answer.status !== 401 || answer.data.code !== 'UNAUTHORIZED' || isSignIn) return false
  location.reload()
  return true
}

// What happens after a call that went well: data-then says it.
function done(element, data, values) {
  const { then = 'close', done: text = '', again } = element.dataset
  element.closest('dialog')?.close()
  if (then === 'reload') return reload(filled(text, values))
  if (then === 'gone' && location.pathname === `/workspaces/${values.id}`) return location.assign('/')
  if (then === 'taken' && data.skipped?.length) return say(filled(words.skipped, { list: data.skipped.join(', ') }))
  if (then === 'show') present(document.getElementById(element.dataset.show), data[element.dataset.of], element)
  if (then === 'page') return showPage(document.getElementById(element.dataset.show), data.html)
  if (again) htmx.trigger(document.getElementById(again), 'again')
  say([filled(text, { ...values, ...data.project }), ...(data.warnings ?? [])].filter(Boolean).join(' '))
}

// A fragment that the server made anew, such as the seats' cards.
function showPage(place, html) {
  place.innerHTML = html
  place.hidden = false
  place.scrollIntoView({ block: 'start' })
  place.focus({ preventScroll: true })
}

function present(place, text) {
  place.hidden = false
  one('pre', place).textContent = text
  const link = one('[data-download]', place)
  if (link.href) URL.revokeObjectURL(link.href)
  link.href = URL.createObjectURL(new Blob([text], { type: 'text/markdown' }))
  one('pre', place).focus()
}

// A participant's seat, also when it is one that they had before.
function showSeat(form, seat) {
  const place = document.getElementById(form.dataset.show)
  for (const element of all('[data-of]', place)) element.textContent = seat[element.dataset.of] ?? ''
  for (const element of all('[data-href]', place)) element.href = seat[element.dataset.href]
  for (const element of all('[data-if]', place)) element.hidden = !seat[element.dataset.if]
  form.closest('section').hidden = true
  place.hidden = false
  place.focus()
}

// --- Forms ---------------------------------------------------------------------------------------------------------

// What is shown of a form as the API's JSON. data-optional: left out while empty. data-null: null while empty. data-lines: a list.
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
  for (const fault of all('.fault', form)) fault.textContent = ''
  for (const field of all('[aria-invalid]', form)) field.removeAttribute('aria-invalid')
  const trouble = one('.trouble', form)
  if (trouble) trouble.textContent = ''
}

// English readers get the API's own sentence, which names the value, but where a field has words of its own.
function faultOf(field, name, text, answer) {
  const own = field.dataset?.fault
  if (own) return words.fault[own]
  if (language === 'en' && !plain.includes(answer.code)) return text
  return words.fault[name] ?? words.error[answer.code] ?? text
}

function showFaults(form, answer) {
  const known = Object.entries(answer.details ?? {}).filter(([name]) => form.elements[name] && typeof answer.details[name] === 'string')
  for (const [name, text] of known) {
    const field = form.elements[name]
    const fault = one(`[id$="-${name}-fault"]`, form)
    if (fault) fault.textContent = faultOf(field, name, text, answer)
    if (field.setAttribute) field.setAttribute('aria-invalid', 'true')
  }
  if (known.length === 0) one('.trouble', form).textContent = sentence(answer)
  const first = known.length ? form.elements[known[0][0]] : null
  first?.focus?.()
}

// --- Dialogs -------------------------------------------------------------------------------------------------------

async function openDialog(button) {
  const dialog = document.getElementById(`dialog-${button.dataset.dialog}`)
  const form = one('form', dialog)
  const values = subject(button)
  form.reset()
  clearFaults(form)
  form.subject = values
  for (const element of all('[data-text]', dialog)) element.textContent = filled(element.dataset.text, values)
  for (const field of all('[data-value]', form)) field.value = values[field.dataset.value] ?? ''
  for (const element of all('[data-if]', form)) {
    const hidden = !values[element.dataset.if]
    ;(element.closest('.field') ?? element).hidden = hidden
  }
  closeMenus()
  for (const field of all('[data-load]', form)) {
    const answer = await call('GET', filled(field.dataset.load, values))
    if (!answer.ok) return signedOut(answer) || complain(sentence(answer.data))
    field.value = answer.data[field.name]
  }
  dialog.onclose = () => { form.stopped = true }
  dialog.showModal()
}

function closeMenus(but) {
  for (const menu of all('details.menu[open]')) if (menu !== but) menu.open = false
}

document.addEventListener('click', (event) => {
  const button = event.target.closest('button, summary')
  closeMenus(event.target.closest('details.menu'))
  if (!button) return
  if (button.dataset.close !== undefined) button.closest('dialog').close()
  else if (button.dataset.dialog) openDialog(button)
  else if (button.type === 'submit') return
  else if (button.dataset.call) press(button)
  else if (button.dataset.again) htmx.trigger(document.getElementById(button.dataset.again), 'again')
  else if (button.dataset.print !== undefined) window.print()
  else if (button.dataset.copy !== undefined) copy(document.getElementById(button.dataset.copy).textContent)
})

// Browsers copy on secure pages only; elsewhere there is no button for it.
if (!navigator.clipboard) all('[data-copy]').forEach((button) => { button.hidden = true })

async function copy(text) {
  await navigator.clipboard.writeText(text)
  say(words.copied)
}

document.addEventListener('submit', (event) => {
  const form = event.target
  if (form.dataset.call) {
    event.preventDefault()
    submit(form)
  } else if (form.dataset.filter !== undefined) event.preventDefault()
})

document.addEventListener('change', (event) => {
  const form = event.target.form
  if (form?.dataset.go !== undefined) form.requestSubmit()
  if (form?.dataset.filter === undefined) return
  const address = new URL(location)
  for (const [name, value] of new FormData(form)) value ? address.searchParams.set(name, value) : address.searchParams.delete(name)
  history.replaceState(null, '', address)
  htmx.trigger(form.closest('[hx-get]'), 'filtered')
})

document.addEventListener('keydown', (event) => {
  const menu = event.target.closest?.('details.menu[open]')
  if (event.key !== 'Escape' || !menu) return
  menu.open = false
  one('summary', menu).focus()
})

// --- What changes meanwhile ----------------------------------------------------------------------------------------

// One stream a page, and none while nobody looks: browsers allow few connections to a host.
const topics = (document.body.dataset.feed ?? '').split(' ').filter(Boolean)
const waiting = {}
let feed = null

function follow() {
  if (!topics.length || document.hidden || feed) return
  feed = new EventSource('/api/events')
  for (const topic of topics) feed.addEventListener(topic, () => refresh(topic))
  // Closed for good: most likely signed out. The page that is loaded then says so.
  feed.onerror = () => { if (feed?.readyState === EventSource.CLOSED) { unfollow(); setTimeout(follow, 5000) } }
}

function unfollow() {
  feed?.close()
  feed = null
}

// At most once a second for each topic, the last change included.
function refresh(topic) {
  if (waiting[topic]) { waiting[topic] = 'again'; return }
  waiting[topic] = 'yes'
  htmx.trigger(document.body, `changed-${topic}`)
  setTimeout(() => {
    const again = waiting[topic] === 'again'
    waiting[topic] = null
    if (again) refresh(topic)
  }, 1000)
}

document.addEventListener('visibilitychange', () => document.hidden ? unfollow() : follow())
addEventListener('pagehide', unfollow)

// A fragment that did not come, since the network changed or the API began anew, is asked for again.
document.addEventListener('htmx:error', () => setTimeout(() => { if (!document.hidden) topics.forEach(refresh) }, 2000))

function followJob(list) {
  const stream = new EventSource(list.dataset.jobLog)
  const add = (event) => {
    const data = JSON.parse(event.data)
    const line = document.createElement('div')
    const moment = document.createElement('time')
    moment.dateTime = data.at
    moment.textContent = clock(new Date(data.at))
    line.append(moment, ' ', data.error ?? data.text ?? data.state ?? '')
    list.append(line)
    list.scrollTop = list.scrollHeight
    if (event.type === 'ended') stream.close()
  }
  for (const kind of ['task', 'progress', 'resumed', 'canceling', 'ended']) stream.addEventListener(kind, add)
}

// --- Times ---------------------------------------------------------------------------------------------------------

const ago = new Intl.RelativeTimeFormat(language, { numeric: 'auto' })
const whole = new Intl.DateTimeFormat(language, { dateStyle: 'medium', timeStyle: 'short' })
const hours = new Intl.DateTimeFormat(language, { hour: '2-digit', minute: '2-digit', second: '2-digit' })

function clock(moment) {
  return moment.toDateString() === new Date().toDateString() ? hours.format(moment) : whole.format(moment)
}

function since(moment) {
  const seconds = (moment - Date.now()) / 1000
  for (const [unit, length] of [['day', 86400], ['hour', 3600], ['minute', 60]]) {
    if (Math.abs(seconds) >= length) return ago.format(Math.round(seconds / length), unit)
  }
  return ago.format(0, 'second')
}

function tellTimes() {
  for (const time of all('time[datetime]')) {
    const moment = new Date(time.dateTime)
    if (Number.isNaN(moment.valueOf())) continue
    if (time.dataset.ago !== undefined) time.textContent = since(moment)
    else if (time.dataset.clock !== undefined) time.textContent = clock(moment)
    time.title = whole.format(moment)
  }
}

document.addEventListener('htmx:after:swap', tellTimes)
document.addEventListener('htmx:response:error', (event) => {
  if (event.detail?.ctx?.response?.status === 401) location.reload()
})
setInterval(() => { if (!document.hidden) tellTimes() }, 30000)
for (const element of all('[data-every]')) {
  setInterval(() => { if (!document.hidden) htmx.trigger(element, 'again') }, element.dataset.every * 1000)
}
tellTimes()
follow()
all('[data-job-log]').forEach(followJob)

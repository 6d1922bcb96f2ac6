// Dialogs, menus, and the handling of clicks. See notifications.js.
'use strict'

async function openDialog(button) {
  const dialog = document.getElementById(`dialog-${button.dataset.dialog}`)
  const form = $('form', dialog)
  const values = subject(button)
  form.reset()
  clearFaults(form)
  form.subject = values
  for (const element of $$('[data-text]', dialog)) element.textContent = filled(element.dataset.text, values)
  for (const field of $$('[data-value]', form)) field.value = values[field.dataset.value] ?? ''
  for (const element of $$('[data-if]', form)) {
    const hidden = !values[element.dataset.if]
    ;(element.closest('.field') ?? element).hidden = hidden
  }
  for (const option of $$('[data-but] option', form)) option.disabled = option.value !== '' && option.value === values[option.parentElement.dataset.but]
  // Where the focus returns to: an element in a closed menu cannot have it.
  const menu = button.closest('details.menu')
  if (menu) $('summary', menu).focus()
  closeMenus()
  for (const field of $$('[data-load]', form)) {
    const answer = await call('GET', filled(field.dataset.load, values))
    if (!answer.ok) return signedOut(answer) || complain(sentence(answer.data))
    // Like the page's initial text: compared with the saved text later.
    field.defaultValue = field.value = answer.data[field.name]
  }
  dialog.onclose = () => { form.stopped = true }
  dialog.showModal()
}

function closeMenus(but) {
  for (const menu of $$('details.menu[open]')) if (menu !== but) menu.open = false
}

document.addEventListener('click', (event) => {
  const button = event.target.closest('button, summary')
  closeMenus(event.target.closest('details.menu'))
  if (!button) return
  if (button.dataset.close !== undefined) button.closest('dialog').close()
  else if (button.dataset.dialog) openDialog(button)
  else if (button.type === 'submit') return
  else if (button.dataset.call) onClick(button)
  else if (button.dataset.again) htmx.trigger(document.getElementById(button.dataset.again), 'again')
  else if (button.dataset.print !== undefined) window.print()
  else if (button.dataset.copy !== undefined) copy(document.getElementById(button.dataset.copy).textContent)
})

// Browsers copy on secure pages only; elsewhere there is no button for it.
if (!navigator.clipboard) $$('[data-copy]').forEach((button) => { button.hidden = true })

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

document.addEventListener('focusout', (event) => {
  const menu = event.target.closest?.('details.menu[open]')
  if (menu && event.relatedTarget && !menu.contains(event.relatedTarget)) menu.open = false
})

document.addEventListener('toggle', (event) => {
  if (event.target.matches('details.menu[open]')) $('ul', event.target).scrollIntoView({ block: 'nearest' })
}, true)

document.addEventListener('keydown', (event) => {
  const menu = event.target.closest?.('details.menu[open]')
  if (event.key !== 'Escape' || !menu) return
  menu.open = false
  $('summary', menu).focus()
})

import { useState } from 'react'

export default function App() {
  const [count, setCount] = useState(0)
  return (
    <main>
      <h1>Hello from React</h1>
      <button onClick={() => setCount(count + 1)}>Clicked {count} times</button>
      <p>
        Change <code>src/App.jsx</code> and save: this page follows.
      </p>
    </main>
  )
}

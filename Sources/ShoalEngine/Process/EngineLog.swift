internal import Synchronization

/// What an engine wrote to its standard error: a bounded file and the last lines in memory.
final class EngineLog: Sendable {
    private struct State {
        var tail = LogTail()
        var file: RotatingFile?
    }

    private let state: Mutex<State>
    private let onLine: @Sendable (String) -> Void

    /// `path` nil keeps the tail only. `onLine` gets each line, in order, on the thread that reads; it must not block.
    init(path: String?, byteCountMax: Int, onLine: @escaping @Sendable (String) -> Void = { _ in }) {
        state = Mutex(State(file: path.map { RotatingFile(path: $0, byteCountMax: byteCountMax) }))
        self.onLine = onLine
    }

    func append(_ bytes: UnsafeRawBufferPointer) {
        state.withLock { state in
            state.tail.append(bytes, onLine: onLine)
            state.file?.write(bytes)
        }
    }

    /// At the end of the stream.
    func finish() {
        state.withLock { state in
            state.tail.finish()
            state.file?.close()
        }
    }

    /// Oldest first; last comes why the file is incomplete, if it is.
    var lines: [String] {
        state.withLock { state in state.tail.lines + [state.file?.problem].compactMap { $0 } }
    }
}

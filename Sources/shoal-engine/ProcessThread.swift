internal import CShoalEngine

/// A thread that lives as long as the process.
enum ProcessThread {
    private final class Body {
        let run: @Sendable () -> Void

        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }

    /// False when the system gives no thread.
    static func start(_ run: @escaping @Sendable () -> Void) -> Bool {
        let body = Unmanaged.passRetained(Body(run))
        let isStarted = shoal_thread_start(
            { context in
                if let context { Unmanaged<Body>.fromOpaque(context).takeRetainedValue().run() }
            }, body.toOpaque())
        if !isStarted { body.release() }
        return isStarted
    }
}

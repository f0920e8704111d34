package import ShoalCore

/// The command line of `ggml-rpc-server`: loopback only, because whoever reaches its port owns its process.
package enum WorkerCommand {
    /// Throws `engineLost` when the program cannot be told where to listen.
    package static func arguments(port: Int, threadCount: Int, help: ToolHelp) throws(ShoalError) -> [String] {
        var line = CommandLineBuilder(help: help)
        try line.need(["--host", "-H"], "127.0.0.1")
        try line.need(["--port", "-p"], String(port))
        line.want(["--threads", "-t"], String(threadCount))
        return line.arguments
    }
}

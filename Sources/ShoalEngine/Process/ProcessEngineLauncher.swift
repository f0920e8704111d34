package import NIOCore
package import ShoalCore
package import ShoalLinks

/// Starts `shoal-engine` as a child process, whose standard input and output are the ends of two socket pairs.
package struct ProcessEngineLauncher: EngineLauncher {
    /// How engines are started, bounded and ended.
    package struct Configuration: Sendable {
        package var executablePath: String
        package var arguments: [String] = []
        /// Where logs go, `engine-LABEL.log` and its predecessor; nil keeps the last lines in memory only.
        package var logDirectory: String?
        /// Of one log file; there are at most two per label.
        package var logByteCountMax = 4 << 20
        /// The child's whole environment.
        package var environment: [String: String]
        /// From the start to the engine's first word: it may have to load GPU libraries.
        package var startDeadline = Duration.seconds(30)
        /// From SIGTERM to SIGKILL.
        package var stopGrace = Duration.seconds(2)
        /// When a running engine is given up.
        package var watchdog = EngineWatchdog.Configuration()

        package init(
            executablePath: String, logDirectory: String?,
            environment: [String: String] = EngineEnvironment.inherited()
        ) {
            self.executablePath = executablePath
            self.logDirectory = logDirectory
            self.environment = environment
        }
    }

    private let configuration: Configuration

    package init(_ configuration: Configuration) { self.configuration = configuration }

    package init(executablePath: String, logDirectory: String?) {
        self.init(Configuration(executablePath: executablePath, logDirectory: logDirectory))
    }

    package func launch(
        label: String, eventLoop: any EventLoop, receiver: any FrameReceiver,
        onLoadProgress: @escaping @Sendable (Double) -> Void
    ) async throws(ShoalError) -> any EngineHandle {
        let log = EngineLog(
            path: try EngineLogFile.path(label, in: configuration.logDirectory),
            byteCountMax: configuration.logByteCountMax)
        let program = ChildProcess.Program(
            path: configuration.executablePath, arguments: configuration.arguments,
            environment: configuration.environment)
        let (child, sockets) = try await ChildProcess.start(program, log: log)
        let connections: (work: FrameConnection, text: FrameConnection)
        do throws(ShoalError) {
            connections = try await Self.connections(over: sockets, eventLoop)
        } catch {
            child.expectEnd()
            child.send(signal: ProcessEngine.killSignal)
            throw error
        }
        let ending = EngineEnding(child: child, stopGrace: configuration.stopGrace)
        let session = EngineSession(
            connection: connections.work, text: connections.text, receiver: receiver, onLoadProgress: onLoadProgress,
            describeEnd: {
                let exit = await ending.end()
                return exit.wasRequested ? nil : exit.error
            })
        do throws(ShoalError) {
            let build = try await session.start(deadline: configuration.startDeadline)
            session.watch(
                configuration.watchdog, pulse: { EngineWatchdog.Pulse(of: child.processID) },
                end: { ending.kill(because: $0) })
            let record = LaunchRecord(
                command: [configuration.executablePath] + configuration.arguments,
                environment: configuration.environment)
            return ProcessEngine(session: session, ending: ending, log: log, build: build, launchRecord: record)
        } catch {
            ending.askFor()
            connections.work.close(because: nil)
            _ = await ending.end()
            await session.waitForEnd()
            throw error.during("starting the engine \(configuration.executablePath)").with(lastLogLine: log.lines.last)
        }
    }

    /// Closes both sockets when it throws.
    private static func connections(
        over sockets: EngineSockets, _ eventLoop: any EventLoop
    ) async throws(ShoalError) -> (work: FrameConnection, text: FrameConnection) {
        var links = LinkConfiguration()
        links.saysGoodbye = false
        let work: FrameConnection
        do throws(ShoalError) {
            work = try await FrameConnection.adopting(
                socket: sockets.work, eventLoop: eventLoop, configuration: links)
        } catch {
            closeDescriptor(sockets.text)
            throw error
        }
        do throws(ShoalError) {
            let text = try await FrameConnection.adopting(
                socket: sockets.text, eventLoop: eventLoop, configuration: links)
            return (work, text)
        } catch {
            work.close(because: nil)
            throw error
        }
    }
}

extension ShoalError {
    /// The same failure with the engine's last words, if it said any.
    fileprivate func with(lastLogLine line: String?) -> ShoalError {
        guard let line, !message.contains(line) else { return self }
        return ShoalError(code, "\(message); its last words: \(line)")
    }
}

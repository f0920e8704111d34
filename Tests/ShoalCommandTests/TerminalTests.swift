import ShoalCore
import Testing

@testable import shoal

@Suite("What the command line prints")
struct TerminalTests {
    private let node = NodeID("00ff") ?? .random()

    private func stage(
        _ name: String, _ layers: String, _ phase: InstancePhase, load: Double? = nil
    ) throws -> StageReport {
        var stage = StageReport(
            node: node, nodeName: name, layers: try #require(LayerRange(parsing: layers)), phase: phase,
            weightBytes: ByteCount(40 << 20))
        stage.loadSeconds = load
        return stage
    }

    private func instance(_ phase: InstancePhase, _ stages: [StageReport]) -> InstanceReport {
        InstanceReport(
            id: InstanceID(rawValue: 0xABC), model: "tiny", family: "llama", head: node, headName: "b", phase: phase,
            stages: stages, contextTokenCount: 2048, sequenceCountMax: 4, createdUnixSeconds: 0)
    }

    @Test("columns are as wide as their widest cell, and lines have no blanks at the end")
    func table() {
        var table = TextTable([("NAME", .left), ("SIZE", .right), ("NOTE", .left)])
        table.add(["a", "10", "x"])
        table.add(["longer", "1"])
        #expect(table.lines == ["NAME    SIZE  NOTE", "a         10  x", "longer     1"])
    }

    @Test("ps has a line per stage")
    func instances() throws {
        var loading = try stage("b", "15-29", .loading)
        loading.loadProgress = 0.5
        var ready = try stage("a", "0-14", .ready, load: 0.52)
        ready.computedTokenCount = 99
        let report = instance(.loading, [ready, loading])
        #expect(
            TextTable.instances([report]).lines == [
                "INSTANCE          MODEL  STATE    HEAD  NODE  LAYERS   WEIGHTS  SHARE   LOAD  FROM NETWORK  TOKENS",
                "0000000000000abc  tiny   loading  b     a       0-14  40.0 MiB   50 %  0.5 s       0.0 MiB      99",
                "                                        b      15-29  40.0 MiB   50 %   50 %       0.0 MiB       -",
            ])
    }

    @Test("nodes that cannot be reached say why")
    func nodes() {
        var far = NodeReport(name: "far", linkAddress: "10.0.0.9:7461", reachability: .unreachable)
        far.problem = "lost"
        far.state = .dead
        far.stateSeconds = 7.9
        var here = NodeReport(name: "here", linkAddress: "127.0.0.1:7461", reachability: .this)
        here.state = .alive
        here.leadingTerm = 3
        here.memoryAvailable = ByteCount(3 << 30)
        here.memoryTotal = ByteCount(8 << 30)
        here.threadCount = 4
        here.apiAddress = "127.0.0.1:7460"
        here.shoalVersion = "0.1.0"
        #expect(
            TextTable.nodes([here, far]).lines == [
                "NAME  STATE     ROLE          MEMORY FREE    TOTAL  THREADS  ADDRESS         API             VERSION",
                "here  alive     this, leader      3.0 GiB  8.0 GiB        4  127.0.0.1:7461  127.0.0.1:7460  0.1.0",
                "far   dead 7 s                          -        -        -  10.0.0.9:7461   -               (lost)",
            ])
        #expect(leaderLine([here, far]) == "leader: here, term 3")
        #expect(leaderLine([far]) == "no leader")
    }

    @Test("progress in a log is one line per change of a stage, not per look")
    func progress() throws {
        var progress = LoadProgress()
        let starting = instance(.starting, [try stage("a", "0-14", .starting)])
        var loading = starting
        loading.phase = .loading
        loading.stages[0].phase = .loading
        var further = loading
        further.stages[0].loadProgress = 0.7
        var ready = further
        ready.phase = .ready
        ready.stages[0].phase = .ready
        ready.stages[0].loadSeconds = 1.25
        #expect(progress.newLines(starting) == ["layers 0-14 on a: starting", "tiny: starting"])
        #expect(progress.newLines(starting) == [])
        #expect(progress.newLines(loading) == ["layers 0-14 on a: loading", "tiny: loading"])
        #expect(progress.newLines(further) == [])
        #expect(LoadProgress.status(further) == "loading | a 0-14 loading 70 %")
        var waiting = instance(.waiting, [])
        waiting.problem = "needs 4 GB more"
        #expect(progress.newLines(waiting) == ["tiny: waiting (needs 4 GB more)"])
        #expect(LoadProgress.status(waiting) == "waiting (needs 4 GB more)")
        #expect(progress.newLines(ready) == ["layers 0-14 on a: ready (40.0 MiB in 1.3 s)", "tiny: ready"])
        ready.stages[0].bytesReadFromDisk = ByteCount(50_000_000)
        #expect(
            progress.newLines(ready) == ["layers 0-14 on a: ready (40.0 MiB in 1.3 s, 40.0 MB/s of the file)"])
    }

    @Test("while workers start, it is said which are ready, since when, and which are awaited")
    func awaitedWorkers() throws {
        var report = instance(
            .starting,
            [
                try stage("a", "0-9", .starting), try stage("b", "10-19", .starting),
                try stage("c", "20-29", .starting),
            ])
        report.stages[1].worker = RPCWorkerReport(address: "10.0.0.2:7461", isForeign: false)
        report.stages[2].worker = RPCWorkerReport(address: "10.0.0.3:7461", isForeign: false)
        let start = "0000000000000abc: "
        #expect(
            problemLines([report]) == [start + "0 of 2 workers ready; awaiting layers 10-19 on b, layers 20-29 on c"])
        report.stages[1].worker?.preparedSeconds = 0.31
        let line = "1 of 2 workers ready (b after 0.3 s); awaiting layers 20-29 on c"
        #expect(problemLines([report]) == [start + line])
        var progress = LoadProgress()
        #expect(
            progress.newLines(report) == [
                "layers 0-9 on a: starting", "layers 10-19 on b: worker ready after 0.3 s",
                "layers 20-29 on c: starting",
                "tiny: \(line)", "tiny: starting",
            ])
        #expect(progress.newLines(report) == [])
        report.stages[2].worker?.preparedSeconds = 4
        #expect(problemLines([report]) == [])
        report.stages[2].worker?.preparedSeconds = nil
        report.phase = .ready
        #expect(problemLines([report]) == [])
        report.notice = "slow to start"
        #expect(problemLines([report]) == [start + "slow to start"])
        #expect(progress.newLines(report).contains("tiny: slow to start"))
    }

    @Test("a failed load tells the cause: the instance's, else the stage's")
    func failure() throws {
        var report = instance(.failed, [try stage("a", "0-14", .failed)])
        #expect(Loader.failure(report).message == "tiny is failed: no reason was given")
        report.stages[0].problem = "the engine died of signal 9"
        #expect(Loader.failure(report).message == "tiny is failed: layers 0-14 on a: the engine died of signal 9")
        report.problem = "node a is gone"
        #expect(Loader.failure(report).message == "tiny is failed: node a is gone")
    }

    @Test("events are found however the bytes are cut")
    func eventLines() throws {
        let text = ": comment\n\ndata: {\"a\":1}\r\n\r\ndata:é\n\nevent: x\ndata: [DONE]\n\n"
        for size in 1...text.utf8.count {
            var lines = EventStreamLines()
            var payloads: [String] = []
            var rest = Array(text.utf8)[...]
            while !rest.isEmpty {
                payloads += try lines.append(Array(rest.prefix(size)))
                rest = rest.dropFirst(size)
            }
            #expect(payloads == ["{\"a\":1}", "é", "[DONE]"])
        }
    }

    @Test("a line without end is refused at the limit")
    func endlessLine() {
        var lines = EventStreamLines()
        let bytes = [UInt8](repeating: 0x61, count: EventStreamLines.lineByteCountMax)
        #expect(throws: Never.self) { _ = try lines.append(bytes) }
        #expect(throws: ShoalError.self) { _ = try lines.append([0x61]) }
    }

    @Test("links has a line per direction and address, and says how blocked pairs connect")
    func links() {
        var open = LinkReport(
            from: node, fromName: "a", to: node, toName: "b", address: "10.0.0.2:7461", state: .open,
            checkedUnixSeconds: 0)
        open.roundTripMilliseconds = 4.44
        open.jitterMilliseconds = 0.3
        open.bytesPerSecond = 28.9e6
        open.bulkPassed = true
        var silent = open
        (silent.fromName, silent.toName, silent.address, silent.state) = ("b", "a", "10.0.0.1:7461", .timedOut)
        (silent.roundTripMilliseconds, silent.jitterMilliseconds, silent.bytesPerSecond) = (nil, nil, nil)
        silent.bulkPassed = nil
        #expect(
            TextTable.links([open, silent]).lines == [
                "FROM  TO  ADDRESS        STATE      ROUND TRIP  JITTER  MB/S  10 MB",
                "a     b   10.0.0.2:7461  open           4.4 ms  0.3 ms  28.9  passed",
                "b     a   10.0.0.1:7461  timed out           -       -     -  -",
            ])
        var pair = PairReport(
            first: node, firstName: "a", second: node, secondName: "b", way: .relayed, reasons: ["c reaches both"])
        pair.relayName = "c"
        #expect(pairLines([pair]) == ["a - b: through c (c reaches both)"])
    }

    @Test("the doctor prints a line per check with what to do")
    func doctor() {
        let report = DoctorReport(checks: [
            DoctorCheck(.pass, "clocks agree"), DoctorCheck(.failure, "b drops TCP 7461", advice: "allow it"),
        ])
        #expect(doctorLines(report) == ["pass  clocks agree", "FAIL  b drops TCP 7461; allow it"])
        #expect(report.hasFailure)
    }

    @Test("the doctor says of each node what it computes with and what it holds")
    func environments() throws {
        var speed = NodeSpeed(
            engineBuild: "b7-c0ffee", device: "EPYC", threadCount: 2, matrices: [:], attentionSecondsPerElement: 0,
            promptAttentionSecondsPerElement: 0, activationSecondsPerElement: 0, secondsPerOperation: 0,
            memoryBytesPerSecond: 1)
        speed.accelerators = [.init(name: "H200", memoryTotal: ByteCount(139 << 30), memoryAvailable: .zero)]
        var report = DoctorReport(checks: [])
        report.environments = [
            NodeEnvironment(
                nodeName: "a", shoalVersion: "0.1.0", engineBuild: "b7-c0ffee", speed: speed, threadCount: 2,
                memoryTotal: ByteCount(8 << 30)),
            NodeEnvironment(
                nodeName: "b", shoalVersion: "0.1.0", engineBuild: nil, speed: nil, threadCount: 1,
                memoryTotal: ByteCount(4 << 30)),
        ]
        let layers = try #require(LayerRange(parsing: "0-14"))
        report.environments[0].held = [.init(model: "tiny", layers: layers, weightBytes: ByteCount(40 << 20))]
        #expect(
            doctorLines(report) == [
                "node  a: Shoal 0.1.0, llama.cpp b7-c0ffee, EPYC, H200 with 139.0 GiB, 2 threads, 8.0 GiB; "
                    + "holds tiny 0-14 (40.0 MiB)",
                "node  b: Shoal 0.1.0, llama.cpp not known, 1 thread, 4.0 GiB; holds no model",
            ])
    }
}

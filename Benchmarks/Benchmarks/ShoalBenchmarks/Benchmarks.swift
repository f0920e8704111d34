internal import Benchmark
internal import NIOCore
internal import ShoalCore
internal import ShoalPlanning
internal import ShoalScheduling
internal import ShoalWire

/// What happens for every token (to bytes and back, a step of the scheduler), and how long a plan takes. Names are file
/// names of thresholds, which the checking tool only finds without spaces.
let benchmarks: @Sendable () -> Void = {
    Benchmark.defaultConfiguration.metrics = [.wallClock]
    // Three times the recorded time: machines differ, and work that grows with what is kept, which this is to find,
    // takes longer than that.
    Benchmark.defaultConfiguration.thresholds = [.wallClock: .init(relative: [.p90: 200.0])]
    Benchmark.defaultConfiguration.maxDuration = .seconds(2)
    Benchmark.defaultConfiguration.scalingFactor = .kilo

    for entryCount in [1, 128] {
        Benchmark("codec-micro-batch-of-\(entryCount)") { benchmark in
            let sample = Samples.microBatch(entryCount: entryCount)
            for _ in benchmark.scaledIterations {
                let frame = try sample.description.frame(
                    instance: InstanceID(rawValue: 1), generation: 1, payload: sample.payload)
                var bytes = try frame.encoded()
                var decoder = FrameDecoder()
                blackHole(try decoder.nextFrame(in: &bytes).map { try MicroBatchDescription(decoding: $0) })
            }
        }
    }

    Benchmark("codec-outputs-of-8") { benchmark in
        let outputs = Samples.outputs(tokenCount: 8)
        for _ in benchmark.scaledIterations {
            let frame = try outputs.frame(number: 1, instance: InstanceID(rawValue: 1), generation: 1)
            blackHole(try OutputsDescription(decoding: frame))
        }
    }

    for streamCount in [1, 8, 64] {
        Benchmark("scheduler-tokens-of-\(streamCount)-streams") { benchmark in
            var pipeline = try Samples.Pipeline(streamCount: streamCount)
            benchmark.startMeasurement()
            for _ in benchmark.scaledIterations { blackHole(pipeline.step()) }
        }
    }

    Benchmark(
        "planner-4-nodes-30-layers", configuration: .init(scalingFactor: .one)
    ) { benchmark in
        let pool = nodes([900, 700, 500, 300])
        let request = request(shape(layersMiB: Array(repeating: 40, count: 30)))
        for _ in benchmark.scaledIterations {
            blackHole(try Planner.plan(request, nodes: pool, links: links(pool)))
        }
    }
}

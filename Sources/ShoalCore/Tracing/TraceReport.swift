/// Where the time of one request went. What `shoal trace` shows.
///
/// Every number is a duration of one clock, in microseconds. Sums are over all micro-batches that carried the request;
/// a micro-batch that also carried others counts in full, because the request waited for all of it.
package struct TraceReport: Hashable, Sendable, Codable {
    /// What one stage did, summed.
    package struct Stage: Hashable, Sendable, Codable {
        package var queue = 0
        package var embed = 0
        package var compute = 0
        package var sample = 0
        package var detokenize = 0
        /// Between the node and its engine, both ways: what `engine` holds beyond the parts above.
        package var handOver = 0
        /// The last measured round trip of the link to the next stage; zero without one.
        package var linkRoundTrip = 0

        package init() {}

        package mutating func add(_ times: StageTimes) {
            queue += Int(times.queue)
            embed += Int(times.embed)
            compute += Int(times.compute)
            sample += Int(times.sample)
            detokenize += Int(times.detokenize)
            handOver += max(0, Int(times.engine) - times.inEngine)
            if times.link > 0 { linkRoundTrip = Int(times.link) }
        }

        package var total: Int { queue + embed + compute + sample + detokenize + handOver }
    }

    /// A part of the answer: its prompt, or its decoded tokens.
    package struct Part: Hashable, Sendable, Codable {
        package var microBatchCount = 0
        package var tokenCount = 0
        /// From the first micro-batch of the prompt to the first token; from each token to the next.
        package var elapsed = 0
        /// At the head: from having a token to sending the micro-batch of the next one.
        package var head = 0
        /// On links, all boundaries together: a micro-batch's round trip without what the stages' nodes had it for.
        package var wire = 0
        /// In the order of the layers.
        package var stages: [Stage] = []

        package init() {}

        /// `roundTrip` is from sending the micro-batch to having its outputs.
        package mutating func add(_ times: [StageTimes], roundTrip: Int) {
            microBatchCount += 1
            wire += max(0, roundTrip - times.reduce(0) { $0 + Int($1.engine) })
            while stages.count < times.count { stages.append(Stage()) }
            for (index, time) in times.enumerated() { stages[index].add(time) }
        }

        package var compute: Int { stages.reduce(0) { $0 + $1.compute } }
    }

    /// How a stage is called.
    package struct Place: Hashable, Sendable, Codable {
        package var nodeName: String
        package var layers: LayerRange

        package init(nodeName: String, layers: LayerRange) {
            self.nodeName = nodeName
            self.layers = layers
        }
    }

    /// What the gateway spent on the answer.
    package struct HTTP: Hashable, Sendable, Codable {
        package var eventCount = 0
        /// Writing events: into JSON, and until the connection took them.
        package var write = 0

        package init() {}
    }

    package var request: RequestID
    package var instance: InstanceID
    package var model: String
    package var headName: String
    package var startedUnixSeconds: Int
    /// Of the stages, in the order of the layers.
    package var places: [Place]
    /// The last measured round trip of the link from the head to the first stage; zero without one.
    package var firstLinkRoundTrip = 0
    package var prompt: Part
    package var decode: Part
    /// Nil while the answer runs, and where another gateway gave the answer.
    package var http: HTTP?

    package init(
        request: RequestID, instance: InstanceID, model: String, headName: String, startedUnixSeconds: Int,
        places: [Place], prompt: Part, decode: Part
    ) {
        self.request = request
        self.instance = instance
        self.model = model
        self.headName = headName
        self.startedUnixSeconds = startedUnixSeconds
        self.places = places
        self.prompt = prompt
        self.decode = decode
    }
}

extension StageTimes {
    /// What the engine itself accounts for, microseconds.
    fileprivate var inEngine: Int { Int(queue) + Int(embed) + Int(compute) + Int(sample) + Int(detokenize) }
}

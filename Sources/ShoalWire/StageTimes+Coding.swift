internal import NIOCore
internal import ShoalCore

/// The end of every micro-batch's and outputs' description: a count, then one record of seven u32 per stage that the
/// micro-batch has been through, in order.
extension StageTimes {
    static let byteCount = 28
    /// The fields that the node fills in lie first and last, so that it can do so in the bytes of a frame that it
    /// passes on.
    static let lastHostFieldsByteCount = 8

    static func write(_ stages: [StageTimes], into buffer: inout ByteBuffer) {
        buffer.writeInteger(UInt8(clamping: stages.count))
        for stage in stages {
            buffer.writeMultipleIntegers(
                stage.queue, stage.embed, stage.compute, stage.sample, stage.detokenize, stage.engine, stage.link)
        }
    }

    static func readAll(from reader: inout FieldReader) throws(ShoalError) -> [StageTimes] {
        let count = Int(try reader.integer("stage count", as: UInt8.self))
        guard count <= Limits.stageCountMax else {
            throw reader.violation("has times of \(count) stages; the limit is \(Limits.stageCountMax)")
        }
        var stages: [StageTimes] = []
        stages.reserveCapacity(count)
        for _ in 0..<count {
            stages.append(
                StageTimes(
                    queue: try reader.integer("queue time"), embed: try reader.integer("embedding time"),
                    compute: try reader.integer("compute time"), sample: try reader.integer("sampling time"),
                    detokenize: try reader.integer("detokenizing time"), engine: try reader.integer("engine time"),
                    link: try reader.integer("link time")))
        }
        return stages
    }
}

extension Frame {
    /// Fills in what the node knows about the stage that answered last with this frame, in microseconds: three fields
    /// of the last `StageTimes`. Frames that do not end with such a record are left alone.
    package mutating func setHostTimes(queue: UInt32, engine: UInt32, link: UInt32) {
        guard flags.contains(.hasTimes), description.readableBytes > StageTimes.byteCount else { return }
        let end = description.writerIndex
        description.setInteger(queue, at: end - StageTimes.byteCount)
        description.setInteger(engine, at: end - StageTimes.lastHostFieldsByteCount)
        description.setInteger(link, at: end - StageTimes.lastHostFieldsByteCount + 4)
    }
}

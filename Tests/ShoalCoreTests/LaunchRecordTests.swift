import ShoalCore
import Testing

@Suite("How an engine was started")
struct LaunchRecordTests {
    @Test("the command of a record is one line for a shell, with everything quoted that needs it")
    func shellCommand() {
        let record = LaunchRecord(
            command: ["/opt/shoal/shoal-engine", "two words", "it's", ""],
            environment: ["PATH": "/bin", "NOTE": "a $b"])
        #expect(
            record.shellCommand
                == #"env -i 'NOTE=a $b' PATH=/bin /opt/shoal/shoal-engine 'two words' 'it'\''s' ''"#)
    }
}

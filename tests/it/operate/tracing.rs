//! Traces of messages, at a collector that speaks OTLP.

mod long {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::{Arc, Mutex};

    use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
    use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use opentelemetry_proto::tonic::trace::v1::Span;
    use tonic::{Request, Response, Status};

    use crate::faults::loss::Traffic;
    use crate::faults::options;
    use crate::support::fleet::Fleet;
    use crate::support::{eventually, ports};

    /// Spans with the program they came from.
    #[derive(Clone, Default)]
    struct Collector(Arc<Mutex<Vec<(String, Span)>>>);

    #[tonic::async_trait]
    impl TraceService for Collector {
        async fn export(&self, request: Request<ExportTraceServiceRequest>) -> Result<Response<ExportTraceServiceResponse>, Status> {
            for spans in request.into_inner().resource_spans {
                let attributes = spans.resource.unwrap_or_default().attributes;
                let named = attributes.into_iter().find(|attribute| attribute.key == "service.name");
                let Some(Value::StringValue(program)) = named.and_then(|named| named.value?.value) else { continue };
                let spans = spans.scope_spans.into_iter().flat_map(|scope| scope.spans);
                self.0.lock().unwrap().extend(spans.map(|span| (program.clone(), span)));
            }
            Ok(Response::new(ExportTraceServiceResponse::default()))
        }
    }

    impl Collector {
        /// A trace that goes all the way: at three sessions, and into SQL.
        fn whole(&self) -> Option<Vec<(String, Span)>> {
            let mut traces: BTreeMap<Vec<u8>, Vec<(String, Span)>> = BTreeMap::new();
            for (program, span) in self.0.lock().unwrap().iter() {
                traces.entry(span.trace_id.clone()).or_default().push((program.clone(), span.clone()));
            }
            let names = |trace: &[(String, Span)]| {
                let mut names: Vec<String> = trace.iter().map(|(program, span)| format!("{program} {}", span.name)).collect();
                names.sort();
                names
            };
            let way = ["delivery commit", "edge deliver", "edge deliver", "edge deliver", "edge push", "offline archive"];
            traces.into_values().find(|trace| names(trace) == way)
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_trace_goes_from_the_sender_to_sql_and_to_each_acknowledgement() {
        let (collector, port) = (Collector::default(), ports::free());
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let service = TraceServiceServer::new(collector.clone());
        let server = tokio::spawn(tonic::transport::Server::builder().add_service(service).serve(address));
        let mut options = options();
        options.overrides.push(("trace.otlp_url", format!("\"http://127.0.0.1:{port}\"")));
        options.overrides.push(("trace.one_in", "3".to_owned()));
        let mut fleet = Fleet::start(options);
        let traffic = Traffic::begin(&fleet).await;
        let trace = eventually("a trace that goes all the way", async || collector.whole()).await;

        let one = |name: &str| trace.iter().find(|(_, span)| span.name == name).map(|(_, span)| span).unwrap();
        let (push, commit) = (one("push"), one("commit"));
        assert_eq!((push.parent_span_id.len(), &commit.parent_span_id), (0, &push.span_id));
        let last: Vec<&Span> =
            trace.iter().map(|(_, span)| span).filter(|span| ["archive", "deliver"].contains(&span.name.as_str())).collect();
        assert!(last.iter().all(|span| span.parent_span_id == commit.span_id), "{trace:?}");
        let ids: BTreeSet<&[u8]> = trace.iter().map(|(_, span)| span.span_id.as_slice()).collect();
        assert_eq!(ids.len(), trace.len());
        for (_, span) in &trace {
            let destination = span.attributes.iter().find(|attribute| attribute.key == "messaging.destination.name").unwrap();
            let name = destination.value.as_ref().and_then(|value| value.value.clone());
            assert_eq!(name, Some(Value::StringValue(traffic.topic.to_string())));
            assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{span:?}");
        }
        // Of three messages about one.
        let about_a_third = async || {
            // Edges send theirs every few seconds.
            let traced = collector.0.lock().unwrap().iter().filter(|(_, span)| span.name == "push").count() as u64;
            let said: u64 = ["alice", "bob"].iter().map(|name| traffic.cast.words(name, traffic.topic)).sum();
            println!("{traced} of {said} messages are traced");
            (traced * 6 > said / 2 && traced < said / 3 * 2).then_some(())
        };
        eventually("about a third of the messages is traced", about_a_third).await;

        // A collector that is away costs spans, and nothing else; not even at the end of a program.
        server.abort();
        traffic.more(200).await;
        fleet.restart("edge-1");
        traffic.end(&fleet).await;
    }
}

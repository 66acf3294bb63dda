//! `compliance_suite!`: one plain `#[test]` for each check, ignored with the reason if the
//! harness does not offer what the check needs.

/// Emits one `#[test]` for every check of the contract, named after its rule.
///
/// `offers` lists what the harness can do beyond appending, look-up, replay and deletion:
/// `reopen`, `second_instance`, `kill`, `cut`, `lose_tail`, `sessions`, `maintenance`, `leases`,
/// `retention`, `follow`. Without the list everything is offered.
///
/// ```no_run
/// # use mcp_event_store_compliance::{Harness, HarnessError, Opened, async_trait};
/// # use mcp_event_store_core::{Clock, Settings};
/// struct MyHarness { /* a directory, a schema, a key prefix … */ }
///
/// #[async_trait]
/// impl Harness for MyHarness {
///     async fn create() -> Result<Self, HarnessError> { todo!() }
///     async fn open(&self, settings: &Settings, clock: &Clock) -> Result<Opened, HarnessError> {
///         todo!()
///     }
///     fn address(&self) -> String { todo!() }
///     async fn tear_down(self: Box<Self>) -> Result<(), HarnessError> { todo!() }
/// }
///
/// mcp_event_store_compliance::compliance_suite!(MyHarness, offers: [reopen, sessions]);
/// ```
#[macro_export]
macro_rules! compliance_suite {
    ($harness:ty $(,)?) => {
        $crate::compliance_suite!($harness, offers: [
            reopen, second_instance, kill, cut, lose_tail, sessions, maintenance, leases,
            retention, follow,
        ]);
    };
    ($harness:ty, offers: [$($need:ident),* $(,)?] $(,)?) => {
        $crate::__checks! { __suite [$harness, [$($need)*]] }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __suite {
    ([$harness:ty, $offers:tt] $($rule:ident $sentence:literal {
        $($module:ident :: $name:ident $needs:tt $($own_process:ident)?;)*
    })*) => {
        $($($crate::__test! { $needs $offers ($harness, $offers, $name) })*)*
    };
}

/// Walks through the needs of one check: the first list is what is still needed, the second what
/// is offered and not yet compared with its first word.
#[doc(hidden)]
#[macro_export]
macro_rules! __test {
    ([] $left:tt ($harness:ty, $offers:tt, $name:ident)) => {
        #[test]
        fn $name() {
            $crate::__run!($harness, $offers, $name);
        }
    };
    ([reopen $($more:ident)*] [reopen $($left:ident)*] $test:tt) => {
        $crate::__test! { @met [$($more)*] $test }
    };
    ([second_instance $($more:ident)*] [second_instance $($left:ident)*] $test:tt) => {
        $crate::__test! { @met [$($more)*] $test }
    };
    ([kill $($more:ident)*] [kill $($left:ident)*] $test:tt) => {
        $crate::__test! { @met [$($more)*] $test }
    };
    ([cut $($more:ident)*] [cut $($left:ident)*] $test:tt) => {
        $crate::__test! { @met [$($more)*] $test }
    };
    ([lose_tail $($more:ident)*] [lose_tail $($left:ident)*] $test:tt) => {
        $crate::__test! { @met [$($more)*] $test }
    };
    ([sessions $($more:ident)*] [sessions $($left:ident)*] $test:tt) => {
        $crate::__test! { @met [$($more)*] $test }
    };
    ([maintenance $($more:ident)*] [maintenance $($left:ident)*] $test:tt) => {
        $crate::__test! { @met [$($more)*] $test }
    };
    ([leases $($more:ident)*] [leases $($left:ident)*] $test:tt) => {
        $crate::__test! { @met [$($more)*] $test }
    };
    ([retention $($more:ident)*] [retention $($left:ident)*] $test:tt) => {
        $crate::__test! { @met [$($more)*] $test }
    };
    ([follow $($more:ident)*] [follow $($left:ident)*] $test:tt) => {
        $crate::__test! { @met [$($more)*] $test }
    };
    ([server_kill $($more:ident)*] [server_kill $($left:ident)*] $test:tt) => {
        $crate::__test! { @met [$($more)*] $test }
    };
    // Met: the next need is looked for among all that is offered.
    (@met $more:tt ($harness:ty, $offers:tt, $name:ident)) => {
        $crate::__test! { $more $offers ($harness, $offers, $name) }
    };
    // Not this one: on to the next that is offered.
    ($needs:tt [$other:ident $($left:ident)*] $test:tt) => {
        $crate::__test! { $needs [$($left)*] $test }
    };
    // Nothing offered is left.
    ([reopen $($more:ident)*] [] $test:tt) => {
        $crate::__ignored! { "needs `reopen`, which this harness does not offer" $test }
    };
    ([second_instance $($more:ident)*] [] $test:tt) => {
        $crate::__ignored! { "needs `second_instance`, which this harness does not offer" $test }
    };
    ([kill $($more:ident)*] [] $test:tt) => {
        $crate::__ignored! { "needs `kill`, which this harness does not offer" $test }
    };
    ([cut $($more:ident)*] [] $test:tt) => {
        $crate::__ignored! { "needs `cut`, which this harness does not offer" $test }
    };
    ([lose_tail $($more:ident)*] [] $test:tt) => {
        $crate::__ignored! { "needs `lose_tail`, which this harness does not offer" $test }
    };
    ([sessions $($more:ident)*] [] $test:tt) => {
        $crate::__ignored! { "needs `sessions`, which this harness does not offer" $test }
    };
    ([maintenance $($more:ident)*] [] $test:tt) => {
        $crate::__ignored! { "needs `maintenance`, which this harness does not offer" $test }
    };
    ([leases $($more:ident)*] [] $test:tt) => {
        $crate::__ignored! { "needs `leases`, which this harness does not offer" $test }
    };
    ([retention $($more:ident)*] [] $test:tt) => {
        $crate::__ignored! { "needs `retention`, which this harness does not offer" $test }
    };
    ([follow $($more:ident)*] [] $test:tt) => {
        $crate::__ignored! { "needs `follow`, which this harness does not offer" $test }
    };
    ([server_kill $($more:ident)*] [] $test:tt) => {
        $crate::__ignored! { "needs `server_kill`, which this harness does not offer" $test }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __ignored {
    ($why:literal ($harness:ty, $offers:tt, $name:ident)) => {
        #[test]
        #[ignore = $why]
        fn $name() {
            $crate::__run!($harness, $offers, $name);
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __run {
    ($harness:ty, [$($offer:ident)*], $name:ident) => {
        $crate::run::<$harness>(
            stringify!($name),
            concat!(module_path!(), "::", stringify!($name)),
            &[$($crate::__need!($offer)),*],
        )
    };
}

//! Contexts.

use std::ffi::{c_int, c_uint};

use crate::call::{Handle, Out, Unused, api, driver};
use crate::core::{context, pools};
use crate::error::{Code, Result};
use crate::machine::{device_of, machine, ordinal};

fn create(out: Out<Handle>, device: c_int) -> Result {
    let context = context::create(ordinal(device)?)?;
    context::push(context)?;
    out.set(context)
}

fn pop(out: Out<Handle>) -> Result {
    let context = context::pop()?;
    out.maybe(context);
    Ok(())
}

/// The thread's context, which must be there.
fn current() -> Result<Handle> {
    context::current().ok_or(Code::INVALID_CONTEXT)
}

api! { driver;
    fn cuCtxCreate(out: Out<Handle>, flags: c_uint, device: c_int) { create(out, device) }
    fn cuCtxCreate_v2(out: Out<Handle>, flags: c_uint, device: c_int) { create(out, device) }
    fn cuCtxCreate_v3(out: Out<Handle>, affinity: Unused, n: c_int, flags: c_uint, device: c_int) {
        create(out, device)
    }
    fn cuCtxCreate_v4(out: Out<Handle>, params: Unused, flags: c_uint, device: c_int) { create(out, device) }
    fn cuCtxDestroy(context: Handle) { context::card_of(context).map(|_| ()) }
    fn cuCtxDestroy_v2(context: Handle) { context::card_of(context).map(|_| ()) }
    fn cuCtxGetCurrent(out: Out<Handle>) { out.set(context::current().unwrap_or(0)) }
    fn cuCtxSetCurrent(context: Handle) { context::set(context) }
    fn cuCtxPushCurrent(context: Handle) { context::push(context) }
    fn cuCtxPushCurrent_v2(context: Handle) { context::push(context) }
    fn cuCtxPopCurrent(out: Out<Handle>) { pop(out) }
    fn cuCtxPopCurrent_v2(out: Out<Handle>) { pop(out) }
    fn cuCtxGetDevice(device: Out<c_int>) { device.set(device_of(context::card_of(current()?)?)) }
    fn cuCtxGetDevice_v2(device: Out<c_int>, context: Handle) {
        let context = if context == 0 { current()? } else { context };
        device.set(device_of(context::card_of(context)?))
    }
    fn cuCtxGetFlags(flags: Out<c_uint>) { flags.set(0) }
    fn cuCtxGetId(context: Handle, id: Out<u64>) {
        let context = if context == 0 { current()? } else { context };
        id.set(context as u64)
    }
    fn cuCtxGetApiVersion(context: Handle, version: Out<c_uint>) { version.set(machine().driver_version) }
    fn cuCtxGetStreamPriorityRange(least: Out<c_int>, greatest: Out<c_int>) {
        least.maybe(0);
        greatest.maybe(-5);
        Ok(())
    }
    fn cuCtxGetLimit(value: Out<usize>, limit: c_int) { value.set(if limit == 0 { 1 << 10 } else { 8 << 20 }) }
    fn cuCtxSetLimit(limit: c_int, value: usize) { Ok(()) }
    fn cuCtxGetCacheConfig(config: Out<c_int>) { config.set(0) }
    fn cuCtxSynchronize() {
        current()?;
        pools::settle();
        Ok(())
    }
    fn cuCtxSynchronize_v2(context: Handle) {
        pools::settle();
        Ok(())
    }
    fn cuCtxEnablePeerAccess(peer: Handle, flags: c_uint) {
        context::enable_peer(context::card_of(current()?)?, context::card_of(peer)?)
    }
    fn cuCtxDisablePeerAccess(peer: Handle) {
        context::disable_peer(context::card_of(current()?)?, context::card_of(peer)?)
    }
}
